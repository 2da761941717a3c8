#include "tests/fake/forward_rig.h"
#include "conf/log.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

uint64_t rig_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void rig_pause(void)
{
	struct timespec pause = {.tv_nsec = 5000000};

	nanosleep(&pause, NULL);
}

void rig_init(struct rig *rig, const struct test_sshd *sshd)
{
	memset(rig, 0, sizeof(*rig));
	rig->profile = sshd->profile;
	rig->profile.forwards = rig->specs;
	rig->target = (struct ssh_target){.profile = &rig->profile, .connect_timeout = 20};
}

unsigned rig_add_port(struct rig *rig, const char *listen, unsigned port, const char *to)
{
	struct conf_error error;
	char text[256];

	snprintf(text, sizeof(text), "%s:%u:%s", listen, port, to);
	assert_int_equal(forward_spec_parse(text, &rig->specs[rig->profile.n_forwards], &error), 0);
	rig->ports[rig->profile.n_forwards++] = port;
	return port;
}

unsigned rig_add(struct rig *rig, const char *listen, const char *to)
{
	return rig_add_port(rig, listen, test_free_port(), to);
}

unsigned rig_add_peer(struct rig *rig, const struct peer *peer)
{
	char to[64];

	snprintf(to, sizeof(to), "127.0.0.1:%u", peer->port);
	return rig_add(rig, "127.0.0.1", to);
}

void rig_start(struct rig *rig)
{
	assert_int_equal(forwards_start(&rig->forwards, &rig->target), 0);
	assert_non_null(rig->forwards);
	assert_int_equal(forwards_count(rig->forwards), rig->profile.n_forwards);
}

void rig_stop(struct rig *rig)
{
	uint64_t start = rig_now_ms();

	assert_true(forwards_free(rig->forwards));
	assert_true(rig_now_ms() - start < 2000);
	for (size_t i = 0; i < rig->profile.n_forwards; i++)
		forward_spec_fini(&rig->specs[i]);
}

struct forward_figures rig_figures(struct rig *rig, unsigned index)
{
	struct forward_figures out;

	forwards_figures(rig->forwards, index, &out);
	return out;
}

static struct {
	const char *what[3];
	unsigned count;
} wanted;

static void count_line(void *arg, const char *line, long long when)
{
	for (int i = 0; i < 3 && wanted.what[i]; i++) {
		if (!strstr(line, wanted.what[i]))
			return;
	}
	wanted.count++;
}

unsigned rig_warned(const char *a, const char *b)
{
	wanted.what[0] = a;
	wanted.what[1] = b;
	wanted.what[2] = NULL;
	wanted.count = 0;
	log_recent(count_line, NULL);
	return wanted.count;
}

struct sending {
	int fd;
	uint64_t bytes;
	bool ok;
};

static void *sender_main(void *arg)
{
	struct sending *sending = arg;

	sending->ok = peer_send(sending->fd, sending->bytes) && !shutdown(sending->fd, SHUT_WR);
	return NULL;
}

bool rig_echoes(unsigned port, bool v6, uint64_t bytes)
{
	struct sending sending = {.fd = peer_connect(port, v6), .bytes = bytes};
	pthread_t thread;
	int64_t got = -1;

	if (sending.fd < 0)
		return false;
	if (!pthread_create(&thread, NULL, sender_main, &sending)) {
		got = peer_receive(sending.fd);
		shutdown(sending.fd, SHUT_RDWR);
		pthread_join(thread, NULL);
	}
	close(sending.fd);
	return sending.ok && got == (int64_t)bytes;
}
