#include "transport/known_hosts.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SHA1_LEN 20

/* Decodes base64 of len characters into out (room for len bytes). The number of bytes, or -1. */
static int base64_decode(const char *text, size_t len, uint8_t *out)
{
	int n, padding = 0;

	if (!len || len % 4 || len > 65536)
		return -1;
	while (padding < 2 && text[len - 1 - (size_t)padding] == '=')
		padding++;
	n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
	return n < 0 ? -1 : n - padding;
}

int known_hosts_base64(const uint8_t *key, size_t key_len, char *buf, size_t size)
{
	if ((key_len + 2) / 3 * 4 + 1 > size)
		return -ENOSPC;
	EVP_EncodeBlock((unsigned char *)buf, key, (int)key_len);
	return 0;
}

/* --- names -------------------------------------------------------------------------- */

/* '*' and '?' as in known_hosts, without regard to case; iterative, so that no pattern is slow. */
static bool glob_match(const char *pattern, size_t len, const char *name)
{
	const char *end = pattern + len, *star = NULL, *retry = NULL;

	while (*name) {
		if (pattern < end && *pattern == '*') {
			star = ++pattern;
			retry = name;
		} else if (pattern < end &&
			   (*pattern == '?' ||
			       tolower((unsigned char)*pattern) == tolower((unsigned char)*name))) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star;
			name = ++retry;
		} else {
			return false;
		}
	}
	while (pattern < end && *pattern == '*')
		pattern++;
	return pattern == end;
}

/* "|1|salt|hash": HMAC-SHA1 of the lower-case name, keyed with the salt. */
static bool hash_match(const char *names, const char *name)
{
	const char *salt = names + 3, *hash = strchr(salt, '|');
	uint8_t salt_bytes[64], hash_bytes[64], mac[EVP_MAX_MD_SIZE];
	char lower[512];
	unsigned mac_len = 0;
	size_t len = strlen(name);

	if (!hash || hash - salt > 40 || strlen(hash + 1) > 40 || len >= sizeof(lower))
		return false;
	if (base64_decode(salt, (size_t)(hash - salt), salt_bytes) != SHA1_LEN ||
	    base64_decode(hash + 1, strlen(hash + 1), hash_bytes) != SHA1_LEN)
		return false;
	for (size_t i = 0; i <= len; i++)
		lower[i] = (char)tolower((unsigned char)name[i]);
	if (!HMAC(EVP_sha1(), salt_bytes, SHA1_LEN, (unsigned char *)lower, len, mac, &mac_len))
		return false;
	return mac_len == SHA1_LEN && !memcmp(mac, hash_bytes, SHA1_LEN);
}

bool known_hosts_match(const char *names, const char *name)
{
	bool found = false;

	if (!strncmp(names, "|1|", 3))
		return hash_match(names, name);
	while (*names) {
		size_t len = strcspn(names, ",");
		bool negated = *names == '!';

		if (glob_match(names + negated, len - negated, name)) {
			if (negated)
				return false;
			found = true;
		}
		names += len;
		names += *names == ',';
	}
	return found;
}

/* --- lines -------------------------------------------------------------------------- */

/* The next word, ended in place; NULL at the end of the line. */
static char *next_word(char **at)
{
	char *word = *at + strspn(*at, " \t");

	if (!*word)
		return NULL;
	*at = word + strcspn(word, " \t");
	if (**at)
		*(*at)++ = '\0';
	return word;
}

/* Takes a line apart; key has room for the line's length. False for comments and what can't be
 * understood. */
static bool parse_line(char *text, uint8_t *key, struct known_line *out)
{
	char *base64;
	int n;

	text[strcspn(text, "\r\n")] = '\0';
	out->marker = KNOWN_PLAIN;
	out->names = next_word(&text);
	if (!out->names || *out->names == '#')
		return false;
	if (*out->names == '@') {
		if (!strcmp(out->names, "@revoked"))
			out->marker = KNOWN_REVOKED;
		else if (!strcmp(out->names, "@cert-authority"))
			out->marker = KNOWN_AUTHORITY;
		else
			return false;
		out->names = next_word(&text);
	}
	out->type = next_word(&text);
	base64 = next_word(&text);
	if (!out->names || !out->type || !base64)
		return false;
	n = base64_decode(base64, strlen(base64), key);
	if (n <= 4)
		return false;
	out->key = key;
	out->key_len = (size_t)n;
	return true;
}

/* Opens it for reading, without waiting for anybody who might write into a FIFO. Of what is no
 * regular file only /dev/null is taken, which ssh's users know as the file that is always empty. */
static int open_regular(const char *file)
{
	struct stat st;
	int fd, err = 0;

	fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	else if (!S_ISREG(st.st_mode) && !(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
		err = -EINVAL;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int known_hosts_read(
    const char *file, bool (*each)(void *arg, const struct known_line *line), void *arg)
{
	struct known_line line = {.number = 0};
	int fd = open_regular(file);
	FILE *in;
	char *text = NULL;
	uint8_t *key = NULL;
	size_t size = 0, key_size = 0;
	ssize_t len;
	int err = 0;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	in = fdopen(fd, "r");
	if (!in) {
		close(fd);
		return -ENOMEM;
	}
	while ((len = getline(&text, &size, in)) >= 0) {
		line.number++;
		if (size > key_size) {
			free(key);
			key_size = size;
			key = malloc(key_size);
			if (!key) {
				err = -ENOMEM;
				break;
			}
		}
		if (strlen(text) == (size_t)len && parse_line(text, key, &line) &&
		    !each(arg, &line))
			break;
	}
	if (!err && ferror(in))
		err = errno ? -errno : -EIO;
	free(key);
	free(text);
	fclose(in);
	return err;
}

/* --- writing ------------------------------------------------------------------------- */

static int make_folder(const char *file)
{
	char *folder = strdup(file), *slash;
	int err = 0;

	if (!folder)
		return -ENOMEM;
	slash = strrchr(folder, '/');
	if (slash && slash > folder) {
		*slash = '\0';
		if (mkdir(folder, 0700) && errno != EEXIST)
			err = -errno;
	}
	free(folder);
	return err;
}

/* Whether the last line of the file lacks its newline, as an editor may leave it. */
static bool lacks_newline(int fd)
{
	struct stat st;
	char last;

	return !fstat(fd, &st) && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 &&
	       last != '\n';
}

int known_hosts_append(const char *file, const char *text)
{
	char *line = NULL;
	ssize_t n;
	int fd, err = 0;

	fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 && errno == ENOENT) {
		err = make_folder(file);
		if (err)
			return err;
		fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		return -errno;
	if (asprintf(&line, "%s%s", lacks_newline(fd) ? "\n" : "", text) < 0) {
		close(fd);
		return -ENOMEM;
	}
	/* One write with O_APPEND: two programs that add lines at once don't mix them. */
	n = write(fd, line, strlen(line));
	if (n != (ssize_t)strlen(line))
		err = n < 0 ? -errno : -ENOSPC;
	free(line);
	if (close(fd) && !err)
		err = -errno;
	return err;
}
