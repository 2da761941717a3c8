#include "transport/ssh_keyfile.h"
#include "transport/ssh_hostkey.h"
#include "transport/sshwire.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYFILE_MAX 65536
#define OPENSSH_MAGIC "openssh-key-v1" /* with its NUL */

/*
 * PROTOCOL.key of OpenSSH: magic, string cipher, string kdf, string kdf options, uint32 number of
 * keys, string public key, string private part (encrypted unless the cipher is "none").
 */
static void look_openssh(const uint8_t *bytes, size_t size, struct keyfile *out)
{
	struct span rest = {bytes, size}, cipher, skip, blob;
	uint32_t count;
	char type[64];

	if (size < sizeof(OPENSSH_MAGIC) || memcmp(bytes, OPENSSH_MAGIC, sizeof(OPENSSH_MAGIC)))
		return;
	rest = (struct span){bytes + sizeof(OPENSSH_MAGIC), size - sizeof(OPENSSH_MAGIC)};
	if (!wire_get_string(&rest, &cipher) || !wire_get_string(&rest, &skip) ||
	    !wire_get_string(&rest, &skip) || !wire_get_u32(&rest, &count) ||
	    !wire_get_string(&rest, &blob))
		return;
	ssh_key_type(blob.data, blob.len, type, sizeof(type));
	snprintf(out->word, sizeof(out->word), "%.23s", ssh_key_type_word(type));
	ssh_hostkey_fingerprint(blob.data, blob.len, out->fingerprint, sizeof(out->fingerprint));
	out->rsa = !strcmp(type, "ssh-rsa");
	if (!strncmp(type, "sk-", 3))
		out->state = KEYFILE_TOKEN;
	else if (!span_is(cipher, "none"))
		out->state = KEYFILE_ENCRYPTED;
	else
		out->state = KEYFILE_USABLE;
}

/* The base64 between the armour's lines, decoded in place. The number of bytes. */
static size_t unarmour(char *text)
{
	char *from = strchr(text, '\n'), *end = strstr(text, "-----END");
	uint8_t *to = (uint8_t *)text;
	size_t len = 0;
	int n;

	if (!from || !end || end < from)
		return 0;
	for (; from < end; from++) {
		if (*from != '\n' && *from != '\r' && *from != ' ' && *from != '\t')
			text[len++] = *from;
	}
	len -= len % 4;
	n = len ? EVP_DecodeBlock(to, (unsigned char *)text, (int)len) : 0;
	return n > 0 ? (size_t)n : 0;
}

/* "PuTTY-User-Key-File-3: KIND", then "Encryption: none" or another. */
static void look_putty(const char *text, struct keyfile *out)
{
	const char *kind = strstr(text, ": "), *encryption = strstr(text, "Encryption: ");
	char type[64];

	out->putty = true;
	out->state =
	    encryption && strncmp(encryption + 12, "none", 4) ? KEYFILE_ENCRYPTED : KEYFILE_USABLE;
	if (!kind)
		return;
	snprintf(type, sizeof(type), "%.*s", (int)strcspn(kind + 2, "\r\n"), kind + 2);
	snprintf(out->word, sizeof(out->word), "%.23s", ssh_key_type_word(type));
	out->rsa = !strcmp(type, "ssh-rsa");
}

static void look_text(char *text, struct keyfile *out)
{
	out->state = KEYFILE_OTHER;
	if (!strncmp(text, "PuTTY-User-Key-File", 19)) {
		look_putty(text, out);
	} else if (strstr(text, "-----BEGIN OPENSSH PRIVATE KEY-----")) {
		char *armour = strstr(text, "-----BEGIN OPENSSH");

		look_openssh((uint8_t *)armour, unarmour(armour), out);
	} else if (strstr(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----") ||
		   strstr(text, "Proc-Type: 4,ENCRYPTED")) {
		out->state = KEYFILE_ENCRYPTED;
	} else if (strstr(text, "PRIVATE KEY-----")) {
		out->state = KEYFILE_USABLE;
		out->rsa = strstr(text, "-----BEGIN RSA") != NULL;
		if (out->rsa)
			strcpy(out->word, "RSA");
	} else if (!strncmp(text, "ssh-", 4) || !strncmp(text, "ecdsa-", 6) ||
		   !strncmp(text, "sk-", 3) || strstr(text, "PUBLIC KEY-----")) {
		out->state = KEYFILE_PUBLIC;
	}
}

void ssh_keyfile_look(const char *path, struct keyfile *out)
{
	struct stat st;
	char *text;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*out = (struct keyfile){.state = KEYFILE_UNREADABLE};
	if (fd < 0 || fstat(fd, &st)) {
		out->err = errno;
		if (errno == ENOENT || errno == ENOTDIR)
			out->state = KEYFILE_MISSING;
		if (fd >= 0)
			close(fd);
		return;
	}
	text = malloc(KEYFILE_MAX + 1);
	n = text ? read(fd, text, KEYFILE_MAX) : -1;
	out->err = n < 0 ? (text ? errno : ENOMEM) : 0;
	close(fd);
	if (n >= 0) {
		text[n] = '\0';
		look_text(text, out);
		OPENSSL_cleanse(text, KEYFILE_MAX);
	}
	free(text);
	out->mode = st.st_mode & 0777;
	/* As ssh judges it: somebody else's file (root's, say) is that one's business. */
	if (out->state != KEYFILE_PUBLIC && st.st_uid == geteuid() && (st.st_mode & 077))
		out->state = KEYFILE_OPEN;
}

void ssh_keyfile_advice(const char *path, const struct keyfile *key, char *buf, size_t size)
{
	buf[0] = '\0';
	switch (key->state) {
	case KEYFILE_USABLE:
		break;
	case KEYFILE_MISSING:
		snprintf(buf, size, "%s does not exist", path);
		break;
	case KEYFILE_UNREADABLE:
		snprintf(buf, size, "%s can't be read: %s", path, strerror(key->err));
		break;
	case KEYFILE_OPEN:
		snprintf(buf, size,
		    "%s can be read by others (mode %04o), so it is not used; chmod 600 '%s'", path,
		    key->mode, path);
		break;
	case KEYFILE_ENCRYPTED:
		snprintf(buf, size,
		    key->putty
			? "%s is protected by a passphrase, and nobody could be asked for it; "
			  "mount from a terminal or set $SSH_ASKPASS"
			: "%s is protected by a passphrase; put it into the agent with: "
			  "ssh-add '%s'",
		    path, path);
		break;
	case KEYFILE_PUBLIC:
		snprintf(buf, size, "%s is a public key; name the private one, without .pub", path);
		break;
	case KEYFILE_TOKEN:
		snprintf(buf, size, "%s, which lies on a security key", path);
		break;
	case KEYFILE_OTHER:
		snprintf(buf, size, "%s is not a private key that can be understood", path);
		break;
	}
}
