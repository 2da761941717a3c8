#include "transport/provider.h"
#include "conf/log.h"
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX (4u << 20)
#define ASK_SECONDS 15
#define CONSOLE "https://cloud.vast.ai/instances/"

__attribute__((format(printf, 3, 4))) static void say(
    struct provider_answer *out, enum provider_state state, const char *format, ...)
{
	va_list ap;

	out->state = state;
	va_start(ap, format);
	vsnprintf(out->text, sizeof(out->text), format, ap);
	va_end(ap);
}

/* --- the answer ----------------------------------------------------------------------- */

/* A name or an address that may go on to the resolver. */
static bool is_host(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len == 0 || len > 253 || text[0] == '-')
		return false;
	for (; *text; text++) {
		if (!isalnum((unsigned char)*text) && !strchr(".-_:", *text))
			return false;
	}
	return true;
}

/* A port as a number or in a string; 0: none. */
static unsigned port_of(const json_t *json)
{
	json_int_t port = json_is_integer(json) ? json_integer_value(json) : 0;

	if (json_is_string(json)) {
		const char *text = json_string_value(json);

		port = text[0] && text[strspn(text, "0123456789")] == '\0' && strlen(text) <= 5
			   ? atoi(text)
			   : 0;
	}
	return port >= 1 && port <= 65535 ? (unsigned)port : 0;
}

static void take_endpoint(struct endpoint *out, const char *host, unsigned port)
{
	char copy[256];
	size_t len;

	if (!host || !port || strlen(host) >= sizeof(copy))
		return;
	/* It is known to come with spaces and newlines around it. */
	host += strspn(host, " \t\r\n");
	snprintf(copy, sizeof(copy), "%s", host);
	len = strlen(copy);
	while (len > 0 && isspace((unsigned char)copy[len - 1]))
		copy[--len] = '\0';
	if (!is_host(copy))
		return;
	memcpy(out->host, copy, sizeof(copy));
	out->port = port;
	out->vouched = true;
}

static void take_endpoints(const json_t *instance, struct provider_answer *out)
{
	const json_t *ssh = json_object_get(json_object_get(instance, "ports"), "22/tcp");
	const json_t *first = json_is_array(ssh) ? json_array_get(ssh, 0) : NULL;

	take_endpoint(&out->direct, json_string_value(json_object_get(instance, "public_ipaddr")),
	    port_of(json_object_get(first, "HostPort")));
	take_endpoint(&out->proxy, json_string_value(json_object_get(instance, "ssh_host")),
	    port_of(json_object_get(instance, "ssh_port")));
}

static bool is_one_of(const char *word, const char *list)
{
	size_t len = strlen(word);
	/* the list begins with a space, so that something stands before each word of it */
	const char *at = len && !strchr(word, ' ') ? strstr(list, word) : NULL;

	return at && at[-1] == ' ' && at[len] == ' ';
}

static void judge(const json_t *instance, const char *id, struct provider_answer *out)
{
	const char *status = json_string_value(json_object_get(instance, "actual_status"));
	const char *intended = json_string_value(json_object_get(instance, "intended_status"));
	bool wanted = intended && !strcmp(intended, "running");

	log_printable(out->status, sizeof(out->status), status ? status : "",
	    status ? strnlen(status, sizeof(out->status) - 1) : 0);
	status = out->status;
	if (!strcmp(status, "running") && (out->direct.port || out->proxy.port))
		out->state = PROVIDER_RUNNING;
	else if (!*status || is_one_of(status, " created loading running rebooting unknown ") ||
		 (wanted && is_one_of(status, " stopped exited ")))
		say(out, PROVIDER_STARTING,
		    "instance %s is not ready yet (%s); try again in a minute, or let --wait do so",
		    id, *status ? status : "no status yet");
	else if (is_one_of(status, " stopped exited frozen "))
		say(out, PROVIDER_STOPPED,
		    "instance %s is not running (%s); start it at " CONSOLE
		    " or with: vastai start instance %s",
		    id, status, id);
	else if (!strcmp(status, "offline"))
		say(out, PROVIDER_OFFLINE,
		    "instance %s is offline: the provider has lost its machine; wait for it, or "
		    "rent another one",
		    id);
	else
		say(out, PROVIDER_STARTING,
		    "instance %s is in a state that vastfs does not know (%s); look at " CONSOLE,
		    id, status);
}

/* Control characters that do not belong into JSON, and bytes that are no ASCII: none of them is in
 * what we look for. */
static char *tidy(const char *body, size_t len)
{
	char *copy = malloc(len + 1);

	for (size_t i = 0; copy && i < len; i++) {
		unsigned char c = (unsigned char)body[i];

		copy[i] = c < 0x20 ? ' ' : c >= 0x7f ? '?' : (char)c;
	}
	return copy;
}

void provider_parse(const char *body, size_t len, const char *id, struct provider_answer *out)
{
	char *copy = tidy(body, len);
	json_t *json = copy ? json_loadb(copy, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const json_t *instance;

	memset(out, 0, sizeof(*out));
	/* twice the same key in some corner is no reason to give up */
	if (!json && copy)
		json = json_loadb(copy, len, 0, NULL);
	free(copy);
	instance = json_object_get(json, "instances");
	if (json_is_array(instance) && json_array_size(instance) == 1)
		instance = json_array_get(instance, 0);
	if (json_is_object(instance)) {
		take_endpoints(instance, out);
		judge(instance, id, out);
	} else if (json_is_null(instance)) {
		provider_status(404, id, out);
	} else {
		say(out, PROVIDER_FAILED,
		    "the provider's answer about instance %s can't be understood (no JSON with "
		    "\"instances\"); is api_url right?",
		    id);
	}
	json_decref(json);
}

void provider_status(long status, const char *id, struct provider_answer *out)
{
	memset(out, 0, sizeof(*out));
	if (status == 401 || status == 403)
		say(out, PROVIDER_REFUSED,
		    "the provider refuses the API key (HTTP %ld); make a new one at "
		    "https://cloud.vast.ai/manage-keys/ and put it in ~/.vast_api_key or "
		    "VAST_API_KEY",
		    status);
	else if (status == 404)
		say(out, PROVIDER_GONE,
		    "the provider knows no instance %s of this account; check the number "
		    "at " CONSOLE ": it may have been destroyed",
		    id);
	else if (status == 429)
		say(out, PROVIDER_BUSY,
		    "the provider wants fewer requests (HTTP 429); try again in a minute");
	else
		say(out, PROVIDER_FAILED,
		    "the provider's API answers with HTTP %ld; try again later, or check api_url",
		    status);
}

/* --- asking ---------------------------------------------------------------------------- */

struct body {
	char *text;
	size_t len;
	struct ssh_cancel *cancel;
};

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct body *body = arg;
	char *grown = body->len + n > BODY_MAX ? NULL : realloc(body->text, body->len + n + 1);

	(void)one;
	if (!grown)
		return 0;
	body->text = grown;
	memcpy(grown + body->len, data, n);
	body->len += n;
	return n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct body *body = arg;

	(void)a, (void)b, (void)c, (void)d;
	return body->cancel && atomic_load(&body->cancel->cancelled);
}

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Without encryption the key may only go to this machine. */
static bool may_carry_key(const char *url)
{
	static const char *const local[] = {"127.0.0.1", "localhost", "[::1]"};

	if (!strncmp(url, "https://", 8))
		return true;
	if (strncmp(url, "http://", 7) != 0)
		return false;
	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++) {
		const char *rest = url + 7 + strlen(local[i]);

		if (strncmp(url + 7, local[i], strlen(local[i])) != 0)
			continue;
		if (*rest == ':') /* a port, not "user:password@elsewhere" */
			rest += 1 + strspn(rest + 1, "0123456789");
		if (*rest == '/')
			return true;
	}
	return false;
}

static struct curl_slist *make_headers(const char *key)
{
	struct curl_slist *list = curl_slist_append(NULL, "Accept: application/json"), *more;
	char header[1200];

	snprintf(header, sizeof(header), "Authorization: Bearer %s", key);
	more = curl_slist_append(list, header);
	explicit_bzero(header, sizeof(header));
	if (!more)
		curl_slist_free_all(list);
	return more;
}

static CURLcode perform(
    const char *url, const char *key, struct body *body, long *status, char *why)
{
	struct curl_slist *headers = make_headers(key);
	CURL *curl = headers ? curl_easy_init() : NULL;
	CURLcode rc = CURLE_OUT_OF_MEMORY;

	if (curl) {
		curl_easy_setopt(curl, CURLOPT_URL, url);
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_USERAGENT, "vastfs/" VASTFS_VERSION);
		curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
		curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)ASK_SECONDS);
		curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, body);
		rc = curl_easy_perform(curl);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
		curl_easy_cleanup(curl);
	}
	for (struct curl_slist *each = headers; each; each = each->next)
		explicit_bzero(each->data, strlen(each->data));
	curl_slist_free_all(headers);
	return rc;
}

int provider_ask(const char *api_url, const char *id, const char *key, struct ssh_cancel *cancel,
    struct provider_answer *out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct body body = {.cancel = cancel};
	char url[1024], why[CURL_ERROR_SIZE] = "";
	size_t len = strlen(api_url);
	long status = 0;
	CURLcode rc;

	memset(out, 0, sizeof(*out));
	while (len > 0 && api_url[len - 1] == '/')
		len--;
	snprintf(url, sizeof(url), "%.*s/api/v0/instances/%s/", (int)len, api_url, id);
	if (!may_carry_key(url)) {
		say(out, PROVIDER_FAILED,
		    "api_url must begin with https://, so that nobody on the way sees the API key");
		return 0;
	}
	pthread_once(&once, init_curl);
	log_verbose("asking %s", url);
	rc = perform(url, key, &body, &status, why);
	if (cancel && atomic_load(&cancel->cancelled)) {
		free(body.text);
		return -ECANCELED;
	}
	if (rc)
		say(out, PROVIDER_FAILED,
		    "the provider's API does not answer: %s; check this machine's network, or "
		    "write "
		    "host and port into the profile (vastfs add)",
		    why[0] ? why : curl_easy_strerror(rc));
	else if (status == 200)
		provider_parse(body.text ? body.text : "", body.len, id, out);
	else
		provider_status(status, id, out);
	log_verbose("the provider says of %s: HTTP %ld %s %s", id, status, out->status, out->text);
	free(body.text);
	return 0;
}
