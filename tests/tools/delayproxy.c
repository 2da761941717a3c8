/*
 * delayproxy: a TCP proxy that stands for a long, slow or broken link in tests.
 *
 *	delayproxy --listen PORT --target HOST:PORT [--delay MS] [--rate BYTES] [--control SOCKET]
 *	delayproxy --send SOCKET COMMAND...
 *
 * PORT 0 takes any free one; "port N" is printed once it listens on 127.0.0.1. The delay is one
 * way, the rate in bytes a second (K, M and G are allowed) for each direction, shared by all
 * connections.
 *
 *	       read()            chunks in a queue, each with its due time        write()
 *	client ------> [due 25.0 ms][due 25.1 ms][due 26 ms]… ------------------> target
 *
 * Each chunk leaves (delay after it came in, or after the link was done with the one before it when
 * there is a rate), so delay costs no bandwidth. A connection may have 64 MiB under way each way;
 * then it is not read any more. With a rate, the queue in front of the link holds the data of one
 * round trip (50 ms at least), as a decent router does. Connecting takes the two round trips until
 * a server's first byte that a real link costs.
 *
 * Commands over the control socket, a line each; answers are "ok …" or "error …":
 *	stall, resume      keep everything that is under way or comes, and let it go on
 *	blackhole          drop everything in silence, accept nothing; resume resets those that lost
 * data cut, close         end all connections with RST, with FIN dribble N          write at most N
 * bytes at a time (0: as they come) delay MS, rate N   change them (rate 0: none) refuse on|off
 * reset new connections at once count              "ok connections=OPEN total=EVER up=BYTES
 * down=BYTES" (up: towards the target)
 *
 * One thread, one libuv loop; the sockets are ours (uv_poll), so that nothing is buffered
 * elsewhere.
 */
#include "tests/tools/delayproxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

void die(const char *what, int err)
{
	fprintf(stderr, "delayproxy: %s: %s\n", what, strerror(err));
	exit(1);
}

/* --- the control socket -------------------------------------------------------- */

static double parse_rate(const char *text)
{
	char *end;
	double n = strtod(text, &end);

	if (*end == 'K')
		n *= 1e3;
	else if (*end == 'M')
		n *= 1e6;
	else if (*end == 'G')
		n *= 1e9;
	return n > 0 ? n : 0;
}

static void command_resume(void)
{
	if (P.blackhole)
		link_close_all(true, true);
	P.stalled = P.blackhole = false;
	link_listen(true);
	link_kick();
}

static void command(const char *line, char *answer, size_t size)
{
	char word[32] = "", arg[64] = "";

	sscanf(line, "%31s %63s", word, arg);
	snprintf(answer, size, "ok\n");
	if (!strcmp(word, "stall")) {
		P.stalled = true;
	} else if (!strcmp(word, "resume")) {
		command_resume();
	} else if (!strcmp(word, "blackhole")) {
		P.blackhole = P.stalled = true;
		link_listen(false);
	} else if (!strcmp(word, "cut")) {
		link_close_all(true, false);
	} else if (!strcmp(word, "close")) {
		link_close_all(false, false);
	} else if (!strcmp(word, "dribble")) {
		P.dribble = (size_t)strtoul(arg, NULL, 10);
		link_kick();
	} else if (!strcmp(word, "delay")) {
		P.delay = (uint64_t)(strtod(arg, NULL) * (double)MS);
	} else if (!strcmp(word, "rate")) {
		P.rate = parse_rate(arg);
		P.direction[0].free_at = P.direction[1].free_at = 0;
		link_kick();
	} else if (!strcmp(word, "refuse")) {
		P.refuse = !strcmp(arg, "on");
	} else if (!strcmp(word, "count")) {
		snprintf(answer, size, "ok connections=%u total=%llu up=%llu down=%llu\n", P.open,
		    (unsigned long long)P.total, (unsigned long long)P.direction[0].bytes,
		    (unsigned long long)P.direction[1].bytes);
	} else {
		snprintf(answer, size, "error unknown command \"%s\"\n", word);
	}
}

static void control_closed(uv_handle_t *handle)
{
	free(handle);
}

static void control_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	static char line[256];

	*buf = uv_buf_init(line, sizeof(line) - 1);
}

static void control_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	char answer[256];
	uv_buf_t out;

	if (n <= 0) {
		if (n < 0)
			uv_close((uv_handle_t *)stream, control_closed);
		return;
	}
	buf->base[n] = 0;
	command(buf->base, answer, sizeof(answer));
	out = uv_buf_init(answer, (unsigned)strlen(answer));
	uv_try_write(stream, &out, 1);
}

static void control_accept(uv_stream_t *server, int status)
{
	uv_pipe_t *pipe = calloc(1, sizeof(*pipe));

	if (!pipe)
		return;
	uv_pipe_init(&P.loop, pipe, 0);
	if (uv_accept(server, (uv_stream_t *)pipe))
		uv_close((uv_handle_t *)pipe, control_closed);
	else
		uv_read_start((uv_stream_t *)pipe, control_alloc, control_read);
}

/* delayproxy --send SOCKET COMMAND: prints the answer. */
static int send_command(const char *path, int argc, char **argv)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char line[256] = "", answer[256];
	ssize_t n;
	int i, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
		die(path, errno);
	for (i = 0; i < argc; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), "%s%s", i ? " " : "",
		    argv[i]);
	if (write(fd, line, strlen(line)) < 0 || (n = read(fd, answer, sizeof(answer) - 1)) <= 0)
		die(path, errno);
	answer[n] = 0;
	fputs(answer, stdout);
	close(fd);
	return strncmp(answer, "ok", 2) != 0;
}

/* --- the start ----------------------------------------------------------------- */

static void resolve(const char *target)
{
	char host[256];
	const char *colon = strrchr(target, ':');
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;

	if (!colon)
		die(target, EINVAL);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - target), target);
	if (getaddrinfo(host, colon + 1, &hints, &found))
		die(target, EHOSTUNREACH);
	memcpy(&P.target, found->ai_addr, found->ai_addrlen);
	P.target_len = found->ai_addrlen;
	freeaddrinfo(found);
}

static void start_listening(unsigned port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof(sin);
	int one = 1;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	P.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (P.listen_fd < 0)
		die("socket", errno);
	setsockopt(P.listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(P.listen_fd, (struct sockaddr *)&sin, sizeof(sin)) || listen(P.listen_fd, 512))
		die("listen", errno);
	getsockname(P.listen_fd, (struct sockaddr *)&sin, &len);
	uv_poll_init_socket(&P.loop, &P.listen_poll, P.listen_fd);
	link_listen(true);
	printf("port %u\n", ntohs(sin.sin_port));
	fflush(stdout);
}

static void start_control(const char *path)
{
	static uv_pipe_t server;
	int rc;

	uv_pipe_init(&P.loop, &server, 0);
	unlink(path);
	rc = uv_pipe_bind(&server, path);
	if (!rc)
		rc = uv_listen((uv_stream_t *)&server, 16, control_accept);
	if (rc)
		die(path, -rc);
}

int main(int argc, char **argv)
{
	unsigned port = 0;
	const char *control = NULL;
	int i;

	if (argc > 3 && !strcmp(argv[1], "--send"))
		return send_command(argv[2], argc - 3, argv + 3);
	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--listen"))
			port = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--target"))
			resolve(argv[i + 1]);
		else if (!strcmp(argv[i], "--delay"))
			P.delay = (uint64_t)(strtod(argv[i + 1], NULL) * (double)MS);
		else if (!strcmp(argv[i], "--rate"))
			P.rate = parse_rate(argv[i + 1]);
		else if (!strcmp(argv[i], "--control"))
			control = argv[i + 1];
		else
			die(argv[i], EINVAL);
	}
	if (i != argc || !P.target_len)
		die("usage: --listen PORT --target HOST:PORT [--delay MS] [--rate BYTES] "
		    "[--control SOCKET]",
		    EINVAL);
	signal(SIGPIPE, SIG_IGN);
	/* chunks of 256 KiB come and go all the time: keep their memory */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	LIST_INIT(&P.connections);
	P.armed = NEVER;
	uv_loop_init(&P.loop);
	P.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (P.timer_fd < 0)
		die("timerfd_create", errno);
	uv_poll_init(&P.loop, &P.timer_poll, P.timer_fd);
	uv_poll_start(&P.timer_poll, UV_READABLE, link_on_timer);
	if (control)
		start_control(control);
	start_listening(port);
	uv_run(&P.loop, UV_RUN_DEFAULT);
	return 0;
}
