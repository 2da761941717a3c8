/*
 * For the tests of profiles: a home folder of their own, and a profile from text. Included by a
 * test program, which runs each test with setup and teardown.
 */
#ifndef VASTFS_TESTS_UNIT_PROFILE_FIXTURE_H
#define VASTFS_TESTS_UNIT_PROFILE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/log.h"
#include "conf/profile_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char home[64];

static inline char *in_home(const char *name)
{
	static char bufs[8][256];
	static int next;
	char *buf = bufs[next++ % 8];

	snprintf(buf, sizeof(bufs[0]), "%s/%s", home, name);
	return buf;
}

static inline void put_file(const char *name, const char *text, mode_t mode)
{
	const char *path = in_home(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	assert_int_equal(chmod(path, mode), 0);
}

static inline int setup(void **state)
{
	snprintf(home, sizeof(home), "/tmp/vastfs-test-XXXXXX");
	if (!mkdtemp(home) || mkdir(in_home(".ssh"), 0700) || mkdir(in_home(".config"), 0700) ||
	    mkdir(in_home(".config/vastfs"), 0700))
		return -1;
	setenv("HOME", home, 1);
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("VASTFS_CONFIG");
	unsetenv("SSH_AUTH_SOCK");
	return 0;
}

static inline int teardown(void **state)
{
	static const char *const names[] = {".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa",
	    ".ssh/id_ecdsa_sk", "k1", "k2", "k3", "agent", "other.ini", ".config/vastfs/config.ini",
	    ".config/vastfs", ".config", ".ssh", ""};

	log_set_level(LOG_LEVEL_WARNING);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		remove(in_home(names[i]));
	return 0;
}

/* A request with options parted by '|'. */
static inline void make_request(
    struct profile_request *request, const char *spec, const char *options)
{
	memset(request, 0, sizeof(*request));
	request->spec = strdup(spec);
	while (*options) {
		size_t len = strcspn(options, "|");

		profile_request_add_option(request, options, len);
		options += len + (options[len] == '|');
	}
	assert_false(request->no_memory);
}

static inline int load(const char *ini, const char *spec, const char *options, struct profile **out,
    struct conf_error *error)
{
	struct profile_request request;
	int rc;

	error->text[0] = '\0';
	make_request(&request, spec, options);
	rc = profile_load_text(&request, "/c/my.ini", ini, strlen(ini), out, error);
	profile_request_fini(&request);
	return rc;
}

static inline struct profile *good(const char *ini, const char *spec, const char *options)
{
	struct conf_error error;
	struct profile *p;

	if (load(ini, spec, options, &p, &error))
		fail_msg("refused: %s", error.text);
	assert_string_equal(error.text, "");
	return p;
}

/* Refused, with all the words (parted by '|') in the line. */
static inline void bad(const char *ini, const char *spec, const char *options, const char *words)
{
	struct conf_error error;
	struct profile *p = NULL;
	char copy[512], *save, *word;
	int rc = load(ini, spec, options, &p, &error);

	if (rc >= 0) {
		profile_free(p);
		fail_msg("accepted, but should have said: %s", words);
	}
	assert_null(p);
	assert_null(strchr(error.text, '\n'));
	snprintf(copy, sizeof(copy), "%s", words);
	for (word = strtok_r(copy, "|", &save); word; word = strtok_r(NULL, "|", &save)) {
		if (!strstr(error.text, word))
			fail_msg("no \"%s\" in: %s", word, error.text);
	}
}

__attribute__((unused)) static const char key_plain[] =
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
    "QyNTUxOQAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
    "-----END OPENSSH PRIVATE KEY-----\n";
#endif
