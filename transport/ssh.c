#include "transport/ssh.h"
#include "conf/log.h"
#include "transport/child.h"
#include "transport/locate.h"
#include "transport/ssh_hostkey.h"
#include "transport/ssh_internal.h"
#include "transport/ssh_keystream.h"
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT 20

/* In the order of measured CPU time with 1.10 and 1.11. */
#define CIPHERS                                                                                    \
	"chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr,aes192-ctr,"                          \
	"aes128-gcm@openssh.com,aes256-gcm@openssh.com"
#define MACS                                                                                       \
	"hmac-sha2-256,hmac-sha2-256-etm@openssh.com,hmac-sha2-512,hmac-sha2-512-etm@openssh.com," \
	"hmac-sha1"

uint64_t ssh_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int ssh_fail(struct ssh_error *error, enum ssh_failure kind, int err, const char *format, ...)
{
	va_list args;

	error->kind = kind;
	error->err = err;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return -err;
}

int ssh_fail_wait(struct ssh_connection *c, int err, const char *phase, struct ssh_error *error)
{
	if (err == -ECANCELED)
		return ssh_fail(error, SSH_CANCELLED, ECANCELED, "%s: cancelled", c->where);
	if (err == -ENOMEM)
		return ssh_fail(error, SSH_LOST, ENOMEM, "%s: out of memory", c->where);
	if (err == -ETIMEDOUT)
		return ssh_fail(error, SSH_TIMEOUT, ETIMEDOUT,
		    "%s: silent for %u seconds %s. The link or the instance hangs, or a firewall "
		    "drops the "
		    "packets; try again, and look whether the instance is running",
		    c->where,
		    c->target->connect_timeout ? c->target->connect_timeout : DEFAULT_TIMEOUT,
		    phase);
	if (c->err == ENOBUFS)
		return ssh_fail(error, SSH_LOST, EPROTO,
		    "%s: the server sent too much that it was not asked for %s", c->where, phase);
	if (c->err || err != -ECONNRESET)
		return ssh_fail(error, SSH_LOST, c->err ? c->err : -err,
		    "%s: the connection broke %s: %s", c->where, phase,
		    strerror(c->err ? c->err : -err));
	return ssh_fail(error, SSH_LOST, ECONNRESET, "%s: the server closed the connection %s%s%s",
	    c->where, phase, c->bye[0] ? ": " : "", c->bye);
}

/* --- waiting --------------------------------------------------------------------- */

int ssh_cancel_init(struct ssh_cancel *cancel)
{
	atomic_init(&cancel->cancelled, false);
	cancel->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return cancel->event_fd < 0 ? -errno : 0;
}

void ssh_cancel_set(struct ssh_cancel *cancel)
{
	uint64_t one = 1;

	atomic_store(&cancel->cancelled, true);
	if (write(cancel->event_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it is readable already */
}

void ssh_cancel_fini(struct ssh_cancel *cancel)
{
	if (cancel->event_fd >= 0)
		close(cancel->event_fd);
	cancel->event_fd = -1;
}

uint64_t ssh_deadline(const struct ssh_target *target)
{
	unsigned seconds = target->connect_timeout ? target->connect_timeout : DEFAULT_TIMEOUT;

	return ssh_now() + (uint64_t)seconds * 1000;
}

uint64_t ssh_step(struct ssh_connection *c, uint64_t more_ms)
{
	c->until = ssh_deadline(c->target) + more_ms;
	return c->until;
}

int ssh_wait_fd(struct ssh_cancel *cancel, int fd, short events, uint64_t deadline)
{
	struct pollfd fds[2] = {
	    {.fd = fd, .events = events}, {.fd = cancel ? cancel->event_fd : -1, .events = POLLIN}};

	for (;;) {
		uint64_t now = ssh_now();
		int n;

		if (cancel && atomic_load(&cancel->cancelled))
			return -ECANCELED;
		if (now >= deadline)
			return -ETIMEDOUT;
		n = poll(fds, 2, (int)(deadline - now));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && fds[0].revents)
			return 0;
		if (n > 0 && fds[1].revents && !atomic_load(&cancel->cancelled)) {
			/* A wake-up that was meant for somebody else: empty it, or poll would spin.
			 */
			uint64_t count;

			if (read(cancel->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
				return -errno;
		}
	}
}

int ssh_wait(struct ssh_connection *c, uint64_t deadline)
{
	int err = ssh_flush(c);

	if (err)
		return err;
	ssh_readable(c);
	return ssh_wait_fd(c->cancel, c->fd, ssh_poll_events(c), deadline);
}

/* --- making the connection --------------------------------------------------------- */

static pthread_once_t init_once = PTHREAD_ONCE_INIT;
static int init_result;

static void init_libssh2(void)
{
	init_result = ssh_keystream_ready() ? libssh2_init(0) : LIBSSH2_ERROR_ALLOC;
}

/* The first line of what came, for people. */
static const char *first_line(const struct ssh_connection *c, char *buf, size_t size)
{
	size_t len = 0;

	while (len < c->first_len && c->first[len] != '\n' && c->first[len] != '\r')
		len++;
	return log_printable(buf, size, (const char *)c->first, len < 100 ? len : 100);
}

/* RFC 4253, 4.2: the banner begins a line, others may stand before it. A web server may quote ours
 * back. */
static bool spoke_ssh(const struct ssh_connection *c)
{
	const uint8_t *at = (const uint8_t *)c->first, *end = at + c->first_len;

	while (at && end - at >= 4 && memcmp(at, "SSH-", 4)) {
		at = memchr(at, '\n', (size_t)(end - at));
		at = at ? at + 1 : NULL;
	}
	return at && end - at >= 4;
}

static int fail_handshake(struct ssh_connection *c, int err, struct ssh_error *error)
{
	char line[128];

	if (err == -ECANCELED || err == -ENOMEM)
		return ssh_fail_wait(c, err, "", error);
	if (spoke_ssh(c))
		return ssh_fail_wait(c, err, "during the SSH handshake", error);
	if (err == -ETIMEDOUT && !c->first_len)
		return ssh_fail(error, SSH_TIMEOUT, ETIMEDOUT,
		    "%s: the port is open, but nothing was said within the time. Is it the SSH "
		    "port? The "
		    "provider's console shows it (ssh -p PORT root@HOST); if it is right, the "
		    "instance may be "
		    "overloaded or still starting",
		    c->where);
	if (c->first_len)
		return ssh_fail(error, SSH_NOT_SSH, EPROTO,
		    "%s: no SSH server answers there; it says \"%s\". Check the port: the "
		    "provider's console "
		    "shows the one for SSH (ssh -p PORT root@HOST)",
		    c->where, first_line(c, line, sizeof(line)));
	return ssh_fail(error, SSH_NOT_SSH, ECONNRESET,
	    "%s: the connection was closed before a word was said. Either this is not the SSH port "
	    "(see the "
	    "provider's console), or the instance is still starting, or its sshd turns connections "
	    "away for a "
	    "while after too many (MaxStartups, PerSourcePenalties): wait a minute and try again",
	    c->where);
}

/* After a failed handshake: was it for want of a common algorithm? Then either side hangs up once
 * it has seen the other's proposal (hundreds of bytes), and libssh2 has settled on nothing. */
static bool disagreed(struct ssh_connection *c)
{
	if (!c->err && !c->eof)
		return true;
	return c->bytes_in > 300 &&
	       (!libssh2_session_methods(c->session, LIBSSH2_METHOD_KEX) ||
		   !libssh2_session_methods(c->session, LIBSSH2_METHOD_HOSTKEY));
}

static int fail_algorithms(struct ssh_connection *c, const char *why, struct ssh_error *error)
{
	return ssh_fail(error, SSH_NO_ALGORITHM, EPROTO,
	    "%s: no common way to talk (%s; libssh2 %s). The usual cause is a server with RSA host "
	    "keys only%s: on "
	    "the instance run `ssh-keygen -A` and restart sshd, so that it has an ED25519 host key",
	    c->where, why, libssh2_version(0),
	    LIBSSH2_VERSION_NUM < 0x010b00
		? ", which this libssh2 can't check with today's signatures"
		: "");
}

static void log_methods(struct ssh_connection *c)
{
	char banner[128];
	const char *text = libssh2_session_banner_get(c->session);

	log_verbose("%s: server version %s", c->where,
	    log_printable(banner, sizeof(banner), text ? text : "", text ? strlen(text) : 0));
	log_verbose("%s: kex %s, host key %s, cipher %s, MAC %s", c->where,
	    libssh2_session_methods(c->session, LIBSSH2_METHOD_KEX),
	    libssh2_session_methods(c->session, LIBSSH2_METHOD_HOSTKEY),
	    libssh2_session_methods(c->session, LIBSSH2_METHOD_CRYPT_CS),
	    libssh2_session_methods(c->session, LIBSSH2_METHOD_MAC_CS));
}

static bool is_supported(const char **algorithms, int n, const char *name, size_t len)
{
	for (int i = 0; i < n; i++) {
		if (strlen(algorithms[i]) == len && !memcmp(algorithms[i], name, len))
			return true;
	}
	return false;
}

/* Proposes those of the list that libssh2 has. (Its own dropping of the others, in 1.10, copies
 * overlapping memory.) */
static void prefer(struct ssh_connection *c, int method, const char *list)
{
	const char **algorithms = NULL;
	char known[512] = "";
	int n = libssh2_session_supported_algs(c->session, method, &algorithms);

	if (n <= 0)
		return; /* libssh2's own order then */
	while (*list) {
		size_t len = strcspn(list, ","), at = strlen(known);

		if (is_supported(algorithms, n, list, len))
			snprintf(known + at, sizeof(known) - at, "%s%.*s", at ? "," : "", (int)len,
			    list);
		list += len;
		list += *list == ',';
	}
	libssh2_free(c->session, algorithms);
	if (known[0] && libssh2_session_method_pref(c->session, method, known))
		log_verbose("%s: can't propose %s", c->where, known);
}

static int handshake(struct ssh_connection *c, struct ssh_error *error)
{
	uint64_t deadline = ssh_step(c, 0);
	char host_keys[256], *why = NULL;
	int rc, err;

	ssh_hostkey_preference(c->target->profile, host_keys, sizeof(host_keys));
	prefer(c, LIBSSH2_METHOD_HOSTKEY, host_keys);
	prefer(c, LIBSSH2_METHOD_CRYPT_CS, CIPHERS);
	prefer(c, LIBSSH2_METHOD_CRYPT_SC, CIPHERS);
	prefer(c, LIBSSH2_METHOD_MAC_CS, MACS);
	prefer(c, LIBSSH2_METHOD_MAC_SC, MACS);

	while ((rc = libssh2_session_handshake(c->session, c->fd)) == LIBSSH2_ERROR_EAGAIN) {
		err = ssh_wait(c, deadline);
		if (err)
			return fail_handshake(c, err, error);
	}
	if (!rc) {
		log_methods(c);
		return 0;
	}
	libssh2_session_last_error(c->session, &why, NULL, 0);
	log_verbose("%s: handshake failed: %d %s", c->where, rc, why ? why : "");
	if (rc == LIBSSH2_ERROR_ALLOC && !c->err)
		return fail_handshake(c, -ENOMEM, error);
	if (c->err != ETIMEDOUT && c->err != ECANCELED && c->err != ENOBUFS && spoke_ssh(c) &&
	    disagreed(c))
		return fail_algorithms(c, why ? why : "", error);
	return fail_handshake(c, c->err ? -c->err : -ECONNRESET, error);
}

static int check_host_key(struct ssh_connection *c, struct ssh_error *error)
{
	struct hostkey_query query = {
	    .target = c->target, .cancel = c->cancel, .address = c->address};
	int type;

	query.key = (const uint8_t *)libssh2_session_hostkey(c->session, &query.key_len, &type);
	if (!query.key)
		return ssh_fail(
		    error, SSH_LOST, EPROTO, "%s: the server showed no host key", c->where);
	return ssh_hostkey_check(&query, error);
}

static int establish(struct ssh_connection *c, struct ssh_error *error)
{
	int err = c->target->profile->proxy_jump ? ssh_proxy_dial(c, error) : ssh_dial(c, error);

	if (err)
		return err;
	c->session = libssh2_session_init_ex(ssh_mem_alloc, ssh_mem_free, ssh_mem_realloc, c);
	if (!c->session)
		return ssh_fail_wait(c, -ENOMEM, "", error);
	libssh2_session_set_blocking(c->session, 0);
	ssh_io_install(c);
	err = handshake(c, error);
	if (!err)
		err = check_host_key(c, error);
	if (err)
		return err;
	c->watching = true;
	err = ssh_authenticate(c, error);
	c->watching = false;
	c->until = 0;
	c->cancels = false;
	c->memory_max = SSH_MEMORY_MAX;
	return err;
}

void ssh_view_set(
    struct ssh_view *view, const struct ssh_target *target, const struct endpoint *endpoint)
{
	view->target = *target;
	view->profile = *target->profile;
	view->target.profile = &view->profile;
	if (endpoint) {
		if (strcmp(endpoint->host, target->profile->host))
			view->profile.ssh_name = NULL;
		memcpy(view->host, endpoint->host, sizeof(view->host));
		view->profile.host = view->host;
		view->profile.port = endpoint->port;
		view->target.vouched = endpoint->vouched;
	}
	snprintf(view->where, sizeof(view->where),
	    strchr(view->profile.host, ':') ? "[%s]:%u" : "%s:%u", view->profile.host,
	    view->profile.port);
}

int ssh_connect_to(const struct ssh_target *target, const struct endpoint *endpoint,
    struct ssh_cancel *cancel, struct ssh_connection **out, struct ssh_error *error)
{
	struct ssh_connection *c = calloc(1, sizeof(*c));
	int err;

	*error = (struct ssh_error){.kind = SSH_OK};
	if (!c)
		return ssh_fail(error, SSH_LOST, ENOMEM, "out of memory");
	c->fd = c->proxy_fd = -1;
	ssh_view_set(&c->view, target, endpoint);
	c->target = &c->view.target;
	c->cancel = cancel;
	c->cancels = true;
	c->memory_max = SSH_MEMORY_FIRST;
	memcpy(c->where, c->view.where, sizeof(c->where));
	pthread_once(&init_once, init_libssh2);
	err = init_result ? -ENOMEM : ssh_io_init(c);
	err = err ? ssh_fail_wait(c, err, "", error) : establish(c, error);
	if (err) {
		ssh_close(c);
		return err;
	}
	*out = c;
	return 0;
}

void ssh_session_end(struct ssh_connection *c)
{
	if (!c->session)
		return;
	/* From here on nothing is sent or awaited: each channel that libssh2 frees sees a dead
	 * socket. */
	c->err = c->err ? c->err : ECONNRESET;
	for (int tries = 0; tries < 1000; tries++) {
		if (libssh2_session_free(c->session) != LIBSSH2_ERROR_EAGAIN)
			break;
	}
	c->session = NULL;
}

/*
 * Bytes that the other side has not acknowledged must not arrive after the connection was given up:
 * once the link is back, the kernel would deliver old requests behind their repetitions on a new
 * connection. SO_LINGER with 0 seconds throws them away and sends a reset. It is set from the
 * beginning (ssh_dial.c), for a daemon that is killed; what has nothing to throw away ends quietly.
 */
void ssh_discard_unsent(int fd, bool always)
{
	struct linger linger = {.l_onoff = always};
	int unsent = 0;

	if (!always && ioctl(fd, SIOCOUTQ, &unsent))
		return;
	linger.l_onoff |= unsent != 0;
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)))
		log_debug("SO_LINGER: %s", strerror(errno));
}

void ssh_close(struct ssh_connection *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		ssh_discard_unsent(c->fd, false);
	ssh_session_end(c);
	if (c->fd >= 0) /* with SO_LINGER only close discards; shutdown would send */
		close(c->fd);
	child_end(&c->proxy_pid, &c->proxy_fd);
	ssh_io_fini(c);
	free(c);
}

LIBSSH2_SESSION *ssh_session(struct ssh_connection *c)
{
	return c->session;
}

int ssh_socket(const struct ssh_connection *c)
{
	return c->fd;
}
