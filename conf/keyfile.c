#include "conf/keyfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Enough for every header that is looked at; the longest, an RSA key's public half, is below 2 KiB.
 */
#define HEAD_BYTES 8192

/* A cursor over the fields of an OpenSSH key: each a length in 4 bytes and as many bytes. */
struct reader {
	const unsigned char *p;
	size_t left;
};

static bool take_u32(struct reader *r, uint32_t *value)
{
	if (r->left < 4)
		return false;
	*value =
	    (uint32_t)r->p[0] << 24 | (uint32_t)r->p[1] << 16 | (uint32_t)r->p[2] << 8 | r->p[3];
	r->p += 4;
	r->left -= 4;
	return true;
}

static bool take_string(struct reader *r, struct reader *out)
{
	uint32_t len;

	if (!take_u32(r, &len) || len > r->left)
		return false;
	out->p = r->p;
	out->left = len;
	r->p += len;
	r->left -= len;
	return true;
}

static bool starts_with(const char *text, size_t len, const char *prefix)
{
	size_t n = strlen(prefix);

	return len >= n && memcmp(text, prefix, n) == 0;
}

/*
 *	"openssh-key-v1\0"  string cipher ("none": no passphrase)  string kdf  string kdf options
 *	uint32 number of keys  string public key (string type, …)  string private part
 */
static enum keyfile_state inspect_openssh(const unsigned char *data, size_t len)
{
	static const char magic[] = "openssh-key-v1";
	struct reader r = {data, len}, cipher, skip, public, type;
	uint32_t n_keys;

	if (len < sizeof(magic) || memcmp(data, magic, sizeof(magic)) != 0)
		return KEYFILE_UNKNOWN;
	r.p += sizeof(magic);
	r.left -= sizeof(magic);
	if (!take_string(&r, &cipher) || !take_string(&r, &skip) || !take_string(&r, &skip) ||
	    !take_u32(&r, &n_keys) || !take_string(&r, &public) || !take_string(&public, &type))
		return KEYFILE_UNKNOWN;
	if (starts_with((const char *)type.p, type.left, "sk-"))
		return KEYFILE_HARDWARE;
	if (cipher.left != 4 || memcmp(cipher.p, "none", 4) != 0)
		return KEYFILE_ENCRYPTED;
	return KEYFILE_USABLE;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes up to the first character that is neither base64 nor white space. Returns the bytes. */
static size_t base64_decode(const char *text, size_t len, unsigned char *out, size_t size)
{
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < len && n < size; i++) {
		int v = base64_value(text[i]);

		if (text[i] == '\n' || text[i] == '\r' || text[i] == ' ')
			continue;
		if (v < 0)
			break;
		bits = bits << 6 | (uint32_t)v;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (unsigned char)(bits >> n_bits);
		}
	}
	return n;
}

static bool contains(const char *text, size_t len, const char *word)
{
	return memmem(text, len, word, strlen(word)) != NULL;
}

static enum keyfile_state inspect_pem(const char *text, size_t len)
{
	static const char openssh[] = "-----BEGIN OPENSSH PRIVATE KEY-----";
	unsigned char data[HEAD_BYTES];
	size_t n;
	enum keyfile_state state;

	if (starts_with(text, len, openssh)) {
		n = base64_decode(
		    text + sizeof(openssh) - 1, len - sizeof(openssh) + 1, data, sizeof(data));
		state = inspect_openssh(data, n);
		explicit_bzero(data, sizeof(data));
		return state;
	}
	if (starts_with(text, len, "-----BEGIN ENCRYPTED PRIVATE KEY-----"))
		return KEYFILE_ENCRYPTED;
	if (!contains(text, len < 64 ? len : 64, "PRIVATE KEY-----"))
		return contains(text, len < 64 ? len : 64, "PUBLIC KEY") ? KEYFILE_PUBLIC
									 : KEYFILE_UNKNOWN;
	return contains(text, len, "Proc-Type: 4,ENCRYPTED") ? KEYFILE_ENCRYPTED : KEYFILE_USABLE;
}

enum keyfile_state keyfile_inspect_text(const char *text, size_t len)
{
	static const char *const public_starts[] = {
	    "ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "---- BEGIN SSH2 PUBLIC KEY"};

	if (len > HEAD_BYTES)
		len = HEAD_BYTES;
	while (len > 0 && (*text == '\n' || *text == '\r' || *text == ' ')) {
		text++;
		len--;
	}
	if (starts_with(text, len, "PuTTY-User-Key-File-"))
		return KEYFILE_PUTTY;
	for (size_t i = 0; i < sizeof(public_starts) / sizeof(*public_starts); i++) {
		if (starts_with(text, len, public_starts[i]))
			return KEYFILE_PUBLIC;
	}
	if (starts_with(text, len, "-----BEGIN "))
		return inspect_pem(text, len);
	return KEYFILE_UNKNOWN;
}

static size_t read_head(int fd, char *buf, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t got = read(fd, buf + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	return n;
}

/* What it is, its mode and whether it needs a passphrase; or why that can't be told. */
static enum keyfile_state inspect(const char *path, mode_t *mode, bool *secret)
{
	char head[HEAD_BYTES];
	enum keyfile_state state;
	struct stat st;
	size_t n;
	int fd;

	*mode = 0;
	*secret = false;
	/* Looked at before it is opened: opening a device or a FIFO may do something or wait. */
	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? KEYFILE_MISSING : KEYFILE_UNREADABLE;
	if (!S_ISREG(st.st_mode))
		return KEYFILE_NOT_A_FILE;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return KEYFILE_UNREADABLE;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return KEYFILE_NOT_A_FILE;
	}
	n = read_head(fd, head, sizeof(head));
	close(fd);
	state = keyfile_inspect_text(head, n);
	*mode = st.st_mode;
	*secret = state == KEYFILE_ENCRYPTED ||
		  (state == KEYFILE_PUTTY && !contains(head, n, "Encryption: none"));
	explicit_bzero(head, sizeof(head));
	return state;
}

enum keyfile_state keyfile_inspect(const char *path)
{
	mode_t mode;
	bool secret;
	enum keyfile_state state = inspect(path, &mode, &secret);

	/* A public key may be read by all; that it is one says more. */
	if (state != KEYFILE_PUBLIC && (mode & 077))
		return KEYFILE_OPEN_TO_OTHERS;
	return state;
}

bool keyfile_needs_secret(const char *path)
{
	mode_t mode;
	bool secret;

	inspect(path, &mode, &secret);
	return secret;
}

static int explain_public(const char *path, const char *where, struct conf_error *error)
{
	size_t len = strlen(path);

	if (len > 4 && strcmp(path + len - 4, ".pub") == 0)
		return conf_fail(error, EINVAL,
		    "%s: key %s is the public half, which belongs on the instance; name the "
		    "private "
		    "one: %.*s",
		    where, path, (int)(len - 4), path);
	return conf_fail(error, EINVAL,
	    "%s: key %s is a public key, which belongs on the instance; name the private key's "
	    "file",
	    where, path);
}

int keyfile_explain(
    enum keyfile_state state, const char *path, const char *where, struct conf_error *error)
{
	switch (state) {
	case KEYFILE_USABLE:
		return 0;
	case KEYFILE_MISSING:
		return conf_fail(error, ENOENT,
		    "%s: key file %s does not exist; check its name, or make a key: ssh-keygen -t "
		    "ed25519",
		    where, path);
	case KEYFILE_UNREADABLE:
		return conf_fail(error, EACCES,
		    "%s: can't read key file %s: %s; check whose file it is (ls -l)", where, path,
		    strerror(errno));
	case KEYFILE_NOT_A_FILE:
		return conf_fail(error, EINVAL,
		    "%s: key %s is not a file; name the private key's file", where, path);
	case KEYFILE_OPEN_TO_OTHERS:
		return conf_fail(error, EACCES,
		    "%s: key file %s can be read or written by others; write: chmod 600 %s", where,
		    path, path);
	case KEYFILE_ENCRYPTED:
		return conf_fail(error, EACCES,
		    "%s: key %s is protected by a passphrase; add it to ssh-agent: eval "
		    "$(ssh-agent); ssh-add %s",
		    where, path, path);
	case KEYFILE_HARDWARE:
		return conf_fail(error, EACCES,
		    "%s: key %s is kept in a security key; add it to ssh-agent: eval $(ssh-agent); "
		    "ssh-add %s",
		    where, path, path);
	case KEYFILE_PUBLIC:
		return explain_public(path, where, error);
	case KEYFILE_PUTTY:
		return conf_fail(error, EINVAL,
		    "%s: key %s is in PuTTY's format, which ssh does not read; convert it: "
		    "puttygen %s -O private-openssh -o id_vastfs",
		    where, path, path);
	case KEYFILE_UNKNOWN:
		break;
	}
	return conf_fail(error, EINVAL,
	    "%s: %s is not a private key that vastfs can read; make one: vastfs key new FILE",
	    where, path);
}

bool keyfile_agent_present(void)
{
	const char *path = getenv("SSH_AUTH_SOCK");
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	bool present;
	int fd;

	if (!path || !*path || strlen(path) >= sizeof(sun.sun_path))
		return false;
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	/* EAGAIN: it listens, and its queue is full. */
	present = connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 || errno == EAGAIN;
	close(fd);
	return present;
}
