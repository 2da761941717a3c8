/* vastfs doctor: this machine, and the way to the instance's port. */
#include "fs/cmd/doctor.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 10000

/* --- the way there --------------------------------------------------------------------- */

static int look_up(const struct endpoint *endpoint, struct addrinfo **out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	char port[8];

	snprintf(port, sizeof(port), "%u", endpoint->port);
	return getaddrinfo(endpoint->host, port, &hints, out);
}

bool doctor_address(struct doctor *doctor)
{
	static const char *const sources[] = {
	    "by the profile", "by the provider: direct", "by the provider: its proxy"};
	struct addrinfo *list = NULL;
	struct ssh_error error;
	char text[512];
	int rc;

	if (locator_get(doctor->target.locator, &doctor->target, false, &doctor->cancel,
		&doctor->location, &error)) {
		doctor_fail_text(doctor, "address", error.text);
		return false;
	}
	if (doctor->profile->proxied) {
		doctor_ok("address", "%s port %u, as %s finds it",
		    doctor->location.endpoints[0].host, doctor->location.endpoints[0].port,
		    doctor->profile->proxy_jump ? doctor->profile->proxy_jump : "ProxyCommand");
		return true;
	}
	rc = look_up(&doctor->location.endpoints[0], &list);
	if (rc) {
		snprintf(text, sizeof(text), "there is no host named \"%s\" (%s)",
		    doctor->location.endpoints[0].host, gai_strerror(rc));
		doctor_fail(doctor, "address", text,
		    "Check host in the profile (vastfs show), and this machine's network");
		return false;
	}
	freeaddrinfo(list);
	doctor_ok("address", "%s port %u (%s)", doctor->location.endpoints[0].host,
	    doctor->location.endpoints[0].port, sources[doctor->location.sources[0]]);
	return true;
}

static long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ll + now.tv_nsec / 1000;
}

static int wait_for(int fd, short events)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};
	int rc = poll(&poll_fd, 1, WAIT_MS);

	return rc > 0 ? 0 : rc ? -errno : -ETIMEDOUT;
}

/* A connected socket, or a negative errno. */
static int reach(const struct endpoint *endpoint)
{
	struct addrinfo *list = NULL;
	int fd = -1, err = -EHOSTUNREACH;

	if (look_up(endpoint, &list))
		return -EHOSTUNREACH;
	for (struct addrinfo *each = list; each && err; each = each->ai_next) {
		socklen_t len = sizeof(err);

		fd = socket(each->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		err = connect(fd, each->ai_addr, each->ai_addrlen) && errno != EINPROGRESS
			  ? -errno
			  : wait_for(fd, POLLOUT);
		if (!err && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
			err = -err;
		if (err)
			close(fd);
	}
	freeaddrinfo(list);
	return err ? err : fd;
}

static void fail_port(struct doctor *doctor, const struct endpoint *endpoint, int err)
{
	char cause[512];

	if (err == -ECONNREFUSED) {
		snprintf(cause, sizeof(cause), "nothing listens on port %u of %s", endpoint->port,
		    endpoint->host);
		doctor_fail(doctor, "port", cause,
		    "Check the port in the provider's console (it changes when an instance is "
		    "moved), and that the instance runs: its sshd needs up to 90 s after the "
		    "start");
		return;
	}
	snprintf(cause, sizeof(cause), "%s port %u can't be reached: %s", endpoint->host,
	    endpoint->port, strerror(-err));
	doctor_fail(doctor, "port", cause,
	    "Check address and port, that the instance runs, and that no firewall or VPN is in the "
	    "way");
}

/* The line that begins with "SSH-", without its end. */
static bool read_banner(int fd, char *line, size_t size)
{
	size_t len = 0;

	while (len + 1 < size && !wait_for(fd, POLLIN)) {
		ssize_t n = read(fd, line + len, 1);

		if (n <= 0)
			return false;
		if (line[len] != '\n') {
			len++;
			continue;
		}
		line[len] = '\0';
		line[strcspn(line, "\r")] = '\0';
		if (!strncmp(line, "SSH-", 4))
			return true;
		len = 0; /* servers may say something before it */
	}
	return false;
}

static bool check_banner(struct doctor *doctor, int fd)
{
	char line[256];

	if (!read_banner(fd, line, sizeof(line))) {
		doctor_fail(doctor, "SSH banner",
		    "what answers there does not speak SSH, or closes at once",
		    "Take the port of ssh from the console, not that of Jupyter; a booting "
		    "instance "
		    "needs a minute");
		return false;
	}
	for (char *p = line; *p; p++)
		*p = (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p;
	doctor_ok("SSH banner", "%s", line);
	return true;
}

bool doctor_port(struct doctor *doctor)
{
	bool good;
	int fd = -1;

	if (doctor->profile->proxied)
		return true;
	for (unsigned i = 0; i < doctor->location.n && fd < 0; i++) {
		long long began = now_us();

		fd = reach(&doctor->location.endpoints[i]);
		if (fd < 0)
			fail_port(doctor, &doctor->location.endpoints[i], fd);
		else
			doctor_ok("port", "open (%s:%u, %.1f ms)",
			    doctor->location.endpoints[i].host, doctor->location.endpoints[i].port,
			    (double)(now_us() - began) / 1000);
	}
	if (fd < 0)
		return false;
	good = check_banner(doctor, fd);
	close(fd);
	return good;
}

/* --- this machine --------------------------------------------------------------------------- */

/* The path of a program in PATH, or false. */
static bool find_program(const char *name, char *out, size_t size)
{
	const char *path = getenv("PATH");

	for (path = path ? path : "/usr/bin:/bin"; *path;) {
		size_t len = strcspn(path, ":");

		snprintf(out, size, "%.*s/%s", (int)len, path, name);
		if (!access(out, X_OK))
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

static bool allows_others(void)
{
	FILE *file = fopen("/etc/fuse.conf", "re");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = !strncmp(line, "user_allow_other", 16);
	if (file)
		fclose(file);
	return found;
}

void doctor_local(struct doctor *doctor)
{
	char program[4096];
	struct stat st;

	if (access("/dev/fuse", R_OK | W_OK))
		doctor_fail(doctor, "/dev/fuse",
		    errno == ENOENT ? "it is not there: the kernel's fuse module is not loaded"
				    : "you may not open it",
		    errno == ENOENT ? "As root: modprobe fuse (in a container: give it /dev/fuse)"
				    : "As root: chmod 666 /dev/fuse");
	else
		doctor_ok("/dev/fuse", "can be opened");
	if (!find_program("fusermount3", program, sizeof(program)))
		doctor_fail(doctor, "fusermount3", "it is not installed",
		    "Install it: sudo apt-get install fuse3");
	else if (geteuid() != 0 && (stat(program, &st) || !(st.st_mode & S_ISUID)))
		doctor_fail(doctor, "fusermount3",
		    "it is not set-user-ID root, so that you can't mount",
		    "Install it anew: sudo apt-get install --reinstall fuse3");
	else if (geteuid() != 0 && access("/etc/mtab", R_OK))
		doctor_fail(doctor, "fusermount3",
		    "it can't unmount for you: there is no /etc/mtab for it to read",
		    "As root: ln -s /proc/self/mounts /etc/mtab");
	else
		doctor_ok("fusermount3", "%s", program);
	if (geteuid() != 0 && !allows_others())
		doctor_note("allow_other", "is refused for you: /etc/fuse.conf has no line "
					   "user_allow_other (needed only to "
					   "let other users in)");
	else
		doctor_ok("allow_other", "may be used");
}
