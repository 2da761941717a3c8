#include "transport/ssh_sign.h"
#include "conf/log.h"
#include "transport/sshwire.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BLOB_MAX 8192
#define USERAUTH_REQUEST 50
#define OLD_RSA "rsa-sha2-512" /* what stands in front of the blob then */

/* draft-ietf-sshm-ssh-agent */
#define AGENT_SIGN_REQUEST 13
#define AGENT_SIGN_RESPONSE 14
#define AGENT_RSA_SHA2_256 2u
#define AGENT_RSA_SHA2_512 4u
#define AGENT_ANSWER_MAX 16384

struct signer {
	struct ssh_connection *c;
	const struct privkey *key; /* or, NULL, the agent's key: */
	struct span blob;
	uint64_t until;
};

bool ssh_sign_suits(const struct ssh_connection *c, const char *type)
{
	const char *banner = libssh2_session_banner_get(c->session);

	return strcmp(type, "ssh-rsa") || !SSH_LIBRARY_IS_OLD ||
	       (banner && strstr(banner, "OpenSSH"));
}

/*
 * What is signed (RFC 4252, section 7): string session id, byte SSH_MSG_USERAUTH_REQUEST, string
 * user, string service, string "publickey", boolean true, string algorithm, string public key.
 */
static bool algorithm_of(const uint8_t *data, size_t len, char *buf, size_t size)
{
	struct span rest = {data, len}, skip, name;

	if (!wire_get_string(&rest, &skip) || !rest.len || rest.data[0] != USERAUTH_REQUEST)
		return false;
	rest.data++;
	rest.len--;
	for (int i = 0; i < 3; i++) { /* the user, the service, the method */
		if (!wire_get_string(&rest, &skip))
			return false;
	}
	if (!span_is(skip, "publickey") || !rest.len)
		return false;
	rest.data++;
	rest.len--;
	if (!wire_get_string(&rest, &name) || name.len >= size)
		return false;
	memcpy(buf, name.data, name.len);
	buf[name.len] = '\0';
	return true;
}

/* --- the agent ---------------------------------------------------------------------------------
 */

static int agent_connect(void)
{
	const char *path = getenv("SSH_AUTH_SOCK");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (!path || strlen(path) >= sizeof(address.sun_path))
		return -ENOENT;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd < 0 ? -errno : fd;
}

static int move_all(const struct signer *signer, int fd, bool out, uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n =
		    out ? send(fd, bytes, len, MSG_NOSIGNAL) : recv(fd, bytes, len, MSG_DONTWAIT);
		int err = 0;

		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		} else if (n == 0) {
			return -EPIPE;
		} else if (errno == EAGAIN) {
			err = ssh_wait_fd(
			    signer->c->cancel, fd, out ? POLLOUT : POLLIN, signer->until);
		} else if (errno != EINTR) {
			err = -errno;
		}
		if (err)
			return err;
	}
	return 0;
}

/* The signature within the answer: string (string algorithm, string signature). */
static int take_signature(struct span answer, const char *algorithm, uint8_t **sig, size_t *sig_len)
{
	struct span outer, name, inner;

	if (!answer.len || answer.data[0] != AGENT_SIGN_RESPONSE)
		return -EACCES; /* it may not, or somebody said no */
	answer.data++;
	answer.len--;
	if (!wire_get_string(&answer, &outer) || !wire_get_string(&outer, &name) ||
	    !wire_get_string(&outer, &inner) || !span_is(name, algorithm) || !inner.len)
		return -EPROTO;
	*sig = malloc(inner.len);
	if (!*sig)
		return -ENOMEM;
	memcpy(*sig, inner.data, inner.len);
	*sig_len = inner.len;
	return 0;
}

static int exchange(const struct signer *signer, struct wire *request, struct span *answer)
{
	struct span head = {request->bytes, 4};
	uint8_t *bytes = request->bytes;
	uint32_t len;
	int fd = agent_connect();
	int err = fd < 0 ? fd : move_all(signer, fd, true, bytes, request->len);

	if (!err)
		err = move_all(signer, fd, false, bytes, 4);
	if (!err && (!wire_get_u32(&head, &len) || len > request->size))
		err = -EPROTO;
	if (!err)
		err = move_all(signer, fd, false, bytes, len);
	if (!err)
		*answer = (struct span){bytes, len};
	if (fd >= 0)
		close(fd);
	return err;
}

static int agent_sign(const struct signer *signer, const char *algorithm, const uint8_t *data,
    size_t len, uint8_t **sig, size_t *sig_len)
{
	size_t size = 4 + 1 + 4 + signer->blob.len + 4 + len + 4;
	struct wire request = {.size = size > AGENT_ANSWER_MAX ? size : AGENT_ANSWER_MAX};
	uint8_t type = AGENT_SIGN_REQUEST;
	struct span answer;
	int err;

	request.bytes = malloc(request.size);
	if (!request.bytes)
		return -ENOMEM;
	wire_put_u32(&request, (uint32_t)(size - 4));
	wire_put(&request, &type, 1);
	wire_put_string(&request, signer->blob.data, signer->blob.len);
	wire_put_string(&request, data, len);
	wire_put_u32(&request, !strcmp(algorithm, "rsa-sha2-512")   ? AGENT_RSA_SHA2_512
			       : !strcmp(algorithm, "rsa-sha2-256") ? AGENT_RSA_SHA2_256
								    : 0);
	err = exchange(signer, &request, &answer);
	if (!err)
		err = take_signature(answer, algorithm, sig, sig_len);
	free(request.bytes);
	return err;
}

/* --- libssh2 -----------------------------------------------------------------------------------
 */

/* The signature is malloc's, which is what the session's own allocation comes to (ssh_io.c). */
static int on_sign(LIBSSH2_SESSION *session, unsigned char **sig, size_t *sig_len,
    const unsigned char *data, size_t len, void **abstract)
{
	const struct signer *signer = *abstract;
	char algorithm[64];
	int err;

	if (!algorithm_of(data, len, algorithm, sizeof(algorithm)))
		err = -EPROTO;
	else if (signer->key)
		err = privkey_sign(signer->key, algorithm, data, len, sig, sig_len);
	else
		err = agent_sign(signer, algorithm, data, len, sig, sig_len);
	if (err)
		log_verbose("%s: no signature: %s", signer->c->where, strerror(-err));
	return err ? -1 : 0;
}

/* The public key as it is to be sent, into bytes; false when there is no room. */
static bool dress(struct span blob, struct wire *wire)
{
	struct span rest = blob, type;

	if (!wire_get_string(&rest, &type))
		return false;
	if (SSH_LIBRARY_IS_OLD && span_is(type, "ssh-rsa")) {
		wire_put_string(wire, OLD_RSA, strlen(OLD_RSA));
		wire_put(wire, rest.data, rest.len);
	} else {
		wire_put(wire, blob.data, blob.len);
	}
	return !wire->full;
}

static int authenticate(struct signer *signer, int *err)
{
	struct ssh_connection *c = signer->c;
	uint64_t deadline = ssh_step(c, 0);
	uint8_t bytes[BLOB_MAX];
	struct wire wire = {.bytes = bytes, .size = sizeof(bytes)};
	void *abstract = signer;
	int rc;

	*err = 0;
	if (!dress(signer->blob, &wire))
		return LIBSSH2_ERROR_FILE;
	if (signer->until > deadline)
		deadline = c->until = signer->until;
	while (!*err && (rc = libssh2_userauth_publickey(c->session, c->target->profile->user,
			     bytes, wire.len, on_sign, &abstract)) == LIBSSH2_ERROR_EAGAIN)
		*err = ssh_wait(c, deadline);
	return rc;
}

int ssh_sign_with_key(struct ssh_connection *c, const struct privkey *key, int *err)
{
	struct signer signer = {.c = c, .key = key, .blob = {key->blob, key->blob_len}};

	return authenticate(&signer, err);
}

int ssh_sign_with_agent(
    struct ssh_connection *c, const uint8_t *blob, size_t blob_len, uint64_t until, int *err)
{
	struct signer signer = {.c = c, .blob = {blob, blob_len}, .until = until};

	return authenticate(&signer, err);
}
