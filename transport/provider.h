/*
 * The provider's API: where is instance 12345678?
 *
 *	GET {api_url}/api/v0/instances/{id}/        Authorization: Bearer KEY
 *	{"instances": {"actual_status": "running", "public_ipaddr": "142.214.185.187",
 *	    "ports": {"22/tcp": [{"HostPort": "20544"}]}, "ssh_host": "ssh5.vast.ai", "ssh_port":
 *20544, …}}
 *
 * Blocking; any thread but the core's. The key goes into the request and nowhere else. The answer
 * is not trusted: hosts and ports are checked before they are given out.
 */
#ifndef VASTFS_TRANSPORT_PROVIDER_H
#define VASTFS_TRANSPORT_PROVIDER_H

#include "transport/ssh.h"
#include <stddef.h>

enum provider_state {
	PROVIDER_RUNNING,  /* at least one endpoint is filled in */
	PROVIDER_STARTING, /* on its way to that */
	PROVIDER_STOPPED,  /* somebody has to start it */
	PROVIDER_OFFLINE,  /* its machine is not reachable for the provider */
	PROVIDER_GONE,	   /* no such instance for this key */
	PROVIDER_REFUSED,  /* the key */
	PROVIDER_BUSY,	   /* 429: ask later */
	PROVIDER_FAILED,   /* no answer, or none that can be understood */
};

struct endpoint {
	char host[256]; /* "": none */
	unsigned port;
	bool vouched; /* the provider said so */
};

struct provider_answer {
	enum provider_state state;
	char status[32]; /* the provider's word, printable; "" when it said none */
	struct endpoint direct, proxy;
	char text[512]; /* for people: what is the matter and what to do; "" when running */
};

/* Understands a body; id is for the text. */
void provider_parse(const char *body, size_t len, const char *id, struct provider_answer *out);

/* What an HTTP status other than 200 means. */
void provider_status(long status, const char *id, struct provider_answer *out);

/* Asks once, within 15 seconds. 0 with *out, or -ECANCELED. */
int provider_ask(const char *api_url, const char *id, const char *key, struct ssh_cancel *cancel,
    struct provider_answer *out);

#endif
