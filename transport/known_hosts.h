/*
 * Reading a file in the form of OpenSSH's known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), a
 * line at a time:
 *
 *	[@cert-authority|@revoked] names type base64-key [comment]
 *	names: host,[host]:port,*.pattern,!not-this   or one hashed name |1|salt|HMAC-SHA1
 *
 * Lines that can't be understood are passed over, as ssh does. No state; any thread.
 */
#ifndef VASTFS_TRANSPORT_KNOWN_HOSTS_H
#define VASTFS_TRANSPORT_KNOWN_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum known_marker { KNOWN_PLAIN, KNOWN_REVOKED, KNOWN_AUTHORITY };

struct known_line {
	unsigned number; /* from 1 */
	enum known_marker marker;
	const char *names; /* ended by NUL, borrowed for the callback */
	const char *type;
	const uint8_t *key;
	size_t key_len;
};

/* Calls each for every line that holds a key, until it returns false. 0 (also for a missing file)
 * or a negative errno; -EINVAL for what is no regular file. Never waits for a FIFO's writer. */
int known_hosts_read(
    const char *file, bool (*each)(void *arg, const struct known_line *line), void *arg);

/* Whether names, as in a line, cover the name (compared without regard to case). */
bool known_hosts_match(const char *names, const char *name);

/* Appends text to the file in one write; makes the file (0600) and its folder (0700) when missing.
 * 0 or a negative errno. */
int known_hosts_append(const char *file, const char *text);

/* Base64 with padding, as in the file, at most size bytes with the NUL. 0 or -ENOSPC. */
int known_hosts_base64(const uint8_t *key, size_t key_len, char *buf, size_t size);

#endif
