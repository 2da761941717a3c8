/*
 * Dials that fail, with a second for each step: they end soon after them at the latest, and take a
 * bounded memory. Included once by a test program, behind cmocka.h.
 */
#ifndef VASTFS_TESTS_BOUNDED_DIAL_H
#define VASTFS_TESTS_BOUNDED_DIAL_H

#include "transport/ssh.h"
#include <stdio.h>
#include <time.h>

#define BOUNDED_DIAL_MS 15000
#define BOUNDED_DIAL_BYTES (64u << 20)

static size_t peak_bytes(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	size_t kib = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmHWM: %zu", &kib) == 1)
			break;
	}
	fclose(file);
	return kib * 1024;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void bounded_dial(
    const struct ssh_target *target, struct ssh_cancel *cancel, struct ssh_error *error)
{
	struct ssh_connection *connection = NULL;
	size_t memory = peak_bytes();
	uint64_t start = now_ms();

	assert_int_not_equal(ssh_connect(target, cancel, &connection, error), 0);
	assert_null(connection);
	assert_true(now_ms() - start < BOUNDED_DIAL_MS);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(peak_bytes() - memory < BOUNDED_DIAL_BYTES);
#else
	(void)memory;
#endif
}

#endif
