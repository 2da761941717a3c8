/*
 * From a host name to a connected socket. getaddrinfo(3) can block for long and can't be cancelled,
 * so it runs on a thread of its own that is left behind when nobody waits for it any more.
 */
#include "conf/log.h"
#include "transport/ssh_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Shared by the resolving and the waiting thread; the last one frees it. */
struct lookup {
	_Atomic int refs;
	int done_fd;
	int rc;			/* getaddrinfo's; valid once done_fd is readable */
	struct addrinfo *found; /* the same */
	char *host;
	char port[8];
};

static void lookup_put(struct lookup *lookup)
{
	if (atomic_fetch_sub(&lookup->refs, 1) > 1)
		return;
	if (lookup->found)
		freeaddrinfo(lookup->found);
	if (lookup->done_fd >= 0)
		close(lookup->done_fd);
	free(lookup->host);
	free(lookup);
}

static void *lookup_main(void *arg)
{
	struct lookup *lookup = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	uint64_t one = 1;

	lookup->rc = getaddrinfo(lookup->host, lookup->port, &hints, &lookup->found);
	if (lookup->rc == EAI_NONAME || lookup->rc == EAI_ADDRFAMILY) {
		/* AI_ADDRCONFIG hides "localhost" on a machine that has no network at all. */
		hints.ai_flags = 0;
		lookup->rc = getaddrinfo(lookup->host, lookup->port, &hints, &lookup->found);
	}
	if (write(lookup->done_fd, &one, sizeof(one)) < 0)
		log_warning("eventfd: %s", strerror(errno));
	lookup_put(lookup);
	return NULL;
}

static int lookup_start(const char *host, unsigned port, struct lookup **out)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	if (!lookup)
		return -ENOMEM;
	atomic_init(&lookup->refs, 2);
	snprintf(lookup->port, sizeof(lookup->port), "%u", port);
	lookup->host = strdup(host);
	lookup->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!lookup->host || lookup->done_fd < 0) {
		err = lookup->host ? -errno : -ENOMEM;
		atomic_store(&lookup->refs, 1);
		lookup_put(lookup);
		return err;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256u * 1024);
	err = pthread_create(&thread, &attr, lookup_main, lookup);
	pthread_attr_destroy(&attr);
	if (err) {
		atomic_store(&lookup->refs, 1);
		lookup_put(lookup);
		return -err;
	}
	*out = lookup;
	return 0;
}

static int fail_resolve(struct ssh_connection *c, int rc, struct ssh_error *error)
{
	const char *host = c->target->profile->host;

	if (rc == EAI_AGAIN)
		return ssh_fail(error, SSH_UNRESOLVED, EHOSTUNREACH,
		    "%s: the name server does not answer, so that \"%s\" could not be looked up. "
		    "Check this "
		    "machine's network",
		    c->where, host);
	return ssh_fail(error, SSH_UNRESOLVED, ENOENT,
	    "%s: there is no host named \"%s\" (%s). Check `host` in the profile", c->where, host,
	    gai_strerror(rc));
}

/* Fills *out with the list (freeaddrinfo). */
static int resolve(struct ssh_connection *c, struct addrinfo **out, struct ssh_error *error)
{
	const struct profile *profile = c->target->profile;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct lookup *lookup = NULL;
	char port[8];
	uint64_t count;
	int err, rc;

	snprintf(port, sizeof(port), "%u", profile->port);
	if (!getaddrinfo(profile->host, port, &hints, out))
		return 0;
	err = lookup_start(profile->host, profile->port, &lookup);
	if (err)
		return ssh_fail_wait(c, err, "while looking the name up", error);
	err = ssh_wait_fd(c->cancel, lookup->done_fd, POLLIN, ssh_deadline(c->target));
	if (err) {
		lookup_put(lookup);
		if (err == -ETIMEDOUT)
			return fail_resolve(c, EAI_AGAIN, error);
		return ssh_fail_wait(c, err, "while looking the name up", error);
	}
	if (read(lookup->done_fd, &count, sizeof(count)) < 0)
		log_verbose("eventfd: %s", strerror(errno));
	rc = lookup->rc;
	*out = lookup->found;
	lookup->found = NULL;
	lookup_put(lookup);
	return rc ? fail_resolve(c, rc, error) : 0;
}

static void set_option(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		log_verbose("setsockopt %d: %s", name, strerror(errno));
}

/* Connects to one address. The descriptor, or a negative errno. */
static int connect_one(struct ssh_connection *c, const struct addrinfo *to, uint64_t deadline)
{
	int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
	int err = 0;
	socklen_t len = sizeof(err);

	if (fd < 0)
		return -errno;
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
	ssh_discard_unsent(fd, true);
	if (connect(fd, to->ai_addr, to->ai_addrlen) && errno != EINPROGRESS) {
		err = errno;
	} else {
		int wait = ssh_wait_fd(c->cancel, fd, POLLOUT, deadline);

		if (wait)
			err = -wait;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
			err = errno;
	}
	if (err) {
		close(fd);
		return -err;
	}
	return fd;
}

static int fail_connect(struct ssh_connection *c, int err, struct ssh_error *error)
{
	switch (err) {
	case -ECANCELED:
	case -ENOMEM:
		return ssh_fail_wait(c, err, "", error);
	case -ECONNREFUSED:
		return ssh_fail(error, SSH_REFUSED, ECONNREFUSED,
		    "%s: connection refused: nothing listens on that port. Check the port (the "
		    "provider's "
		    "console shows ssh -p PORT root@HOST; it changes when the instance is moved), "
		    "and that "
		    "the instance is running: its sshd needs up to 90 seconds after the start",
		    c->where);
	case -ETIMEDOUT:
		return ssh_fail(error, SSH_UNREACHABLE, ETIMEDOUT,
		    "%s: no answer to the connection. Check the address and port, that the "
		    "instance is "
		    "running, and that no firewall on the way drops the packets",
		    c->where);
	default:
		return ssh_fail(error, SSH_UNREACHABLE, -err,
		    "%s: can't reach the host: %s. Check the address and this machine's network",
		    c->where, strerror(-err));
	}
}

int ssh_dial(struct ssh_connection *c, struct ssh_error *error)
{
	uint64_t deadline = ssh_deadline(c->target);
	struct addrinfo *list = NULL;
	unsigned left = 0;
	int fd = -1, worst = 0, err = resolve(c, &list, error);

	if (err)
		return err;
	for (struct addrinfo *each = list; each; each = each->ai_next)
		left++;
	/* One after the other, each with its share of the time, so that a dead IPv6 way doesn't
	 * cost all. */
	for (struct addrinfo *each = list; each && fd < 0; each = each->ai_next, left--) {
		uint64_t now = ssh_now(), share = now < deadline ? (deadline - now) / left : 0;

		if (getnameinfo(each->ai_addr, each->ai_addrlen, c->address, sizeof(c->address),
			NULL, 0, NI_NUMERICHOST))
			c->address[0] = '\0';
		log_verbose("%s: connecting to %s", c->where, c->address);
		fd = connect_one(c, each, now + share);
		if (fd < 0)
			log_verbose("%s: %s: %s", c->where, c->address, strerror(-fd));
		/* A refusal says more than a timeout on another address. */
		if (fd < 0 && (!worst || fd == -ECONNREFUSED || fd == -ECANCELED))
			worst = fd;
		if (fd == -ECANCELED)
			break;
	}
	freeaddrinfo(list);
	if (fd < 0)
		return fail_connect(c, worst ? worst : -EHOSTUNREACH, error);
	c->fd = fd;
	c->heard_ms = ssh_now();
	return 0;
}
