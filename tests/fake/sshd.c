#include "tests/fake/sshd.h"
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SSHD "/usr/sbin/sshd"

bool test_sshd_available(void)
{
	return geteuid() == 0 && !access(SSHD, X_OK) && !access("/usr/bin/ssh-keygen", X_OK);
}

void test_run(const char *program, ...)
{
	char *argv[16] = {(char *)(uintptr_t)program};
	int n = 1, status = -1;
	va_list args;
	pid_t pid;

	va_start(args, program);
	while (n < 15 && (argv[n] = va_arg(args, char *)))
		n++;
	argv[n] = NULL;
	va_end(args);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		execvp(program, argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	assert_int_equal(status, 0);
}

static int loopback_socket(struct sockaddr_in *to, unsigned port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*to = (struct sockaddr_in){.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return fd;
}

unsigned test_free_port(void)
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	int fd = loopback_socket(&at, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	close(fd);
	return ntohs(at.sin_port);
}

static void write_file(const char *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void write_file(const char *path, const char *format, ...)
{
	FILE *out = fopen(path, "we");
	va_list args;

	assert_non_null(out);
	va_start(args, format);
	vfprintf(out, format, args);
	va_end(args);
	assert_int_equal(fclose(out), 0);
}

static void read_first_line(const char *path, char *buf, int size)
{
	FILE *in = fopen(path, "re");

	assert_non_null(in);
	assert_non_null(fgets(buf, size, in));
	buf[strcspn(buf, "\n")] = '\0';
	fclose(in);
}

/* Tests fail to log in on purpose; from 9.8 on sshd would then refuse connections for a while. An
 * older one does not know the word. */
static const char *without_penalties(void)
{
	FILE *in = popen(SSHD " -V 2>&1", "re");
	int major = 0, minor = 0;
	char line[256];

	assert_non_null(in);
	while (fgets(line, sizeof(line), in)) {
		const char *version = strstr(line, "OpenSSH_");

		if (version && sscanf(version, "OpenSSH_%d.%d", &major, &minor) == 2)
			break;
	}
	pclose(in);
	return major > 9 || (major == 9 && minor >= 8) ? "PerSourcePenalties no\n" : "";
}

static void make_files(struct test_sshd *sshd, const char *config)
{
	char path[160], line[1024];

	snprintf(path, sizeof(path), "%s/host", sshd->dir);
	test_run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path, NULL);
	snprintf(path, sizeof(path), "%s/host.pub", sshd->dir);
	read_first_line(path, line, sizeof(line));
	write_file(sshd->known_hosts, "[127.0.0.1]:%u %s\n", sshd->port, line);
	test_run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", sshd->key, NULL);
	snprintf(path, sizeof(path), "%s.pub", sshd->key);
	read_first_line(path, line, sizeof(line));
	snprintf(path, sizeof(path), "%s/authorized_keys", sshd->dir);
	write_file(path, "%s\n", line);
	snprintf(path, sizeof(path), "%s/sshd_config", sshd->dir);
	write_file(path,
	    "%s\n"
	    "ListenAddress 127.0.0.1:%u\n"
	    "HostKey %s/host\n"
	    "AuthorizedKeysFile %s/authorized_keys\n"
	    "UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
	    "KbdInteractiveAuthentication no\nPidFile none\nPrintMotd no\n"
	    /* A bash that thinks it is not the outermost one does not read ~/.bashrc. */
	    "SetEnv SHLVL=2\n"
	    "%s%s\n",
	    config, sshd->port, sshd->dir, sshd->dir,
	    strstr(config, "PerSourcePenalties") ? "" : without_penalties(),
	    strstr(config, "Subsystem") ? "" : "Subsystem sftp /usr/lib/openssh/sftp-server");
}

static void wait_until_up(struct test_sshd *sshd)
{
	struct timespec pause = {.tv_nsec = 5000000};

	for (int tries = 0; tries < 2000; tries++) {
		struct sockaddr_in to;
		int fd = loopback_socket(&to, sshd->port);
		int rc = connect(fd, (struct sockaddr *)&to, sizeof(to));

		close(fd);
		if (!rc)
			return;
		assert_int_equal(waitpid(sshd->pid, NULL, WNOHANG), 0);
		nanosleep(&pause, NULL);
	}
	fail_msg("sshd does not come up; see %s", sshd->log);
}

/* A copy of a FUSE mount in this namespace would keep its daemon alive after the unmount. */
static void leave_fuse_mounts(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent *entry;

	while (mounts && (entry = getmntent(mounts))) {
		if (!strncmp(entry->mnt_type, "fuse", 4))
			umount2(entry->mnt_dir, MNT_DETACH);
	}
	if (mounts)
		endmntent(mounts);
}

void test_sshd_start(struct test_sshd *sshd, const char *config)
{
	char path[160];

	memset(sshd, 0, sizeof(*sshd));
	snprintf(sshd->dir, sizeof(sshd->dir), "/tmp/vastfs-sshd-XXXXXX");
	assert_non_null(mkdtemp(sshd->dir));
	snprintf(sshd->key, sizeof(sshd->key), "%s/id", sshd->dir);
	snprintf(sshd->known_hosts, sizeof(sshd->known_hosts), "%s/known_hosts", sshd->dir);
	snprintf(sshd->log, sizeof(sshd->log), "%s/log", sshd->dir);
	sshd->port = test_free_port();
	make_files(sshd, config);
	if (mkdir("/run/sshd", 0755))
		assert_int_equal(errno, EEXIST);
	snprintf(path, sizeof(path), "%s/sshd_config", sshd->dir);
	sshd->pid = fork();
	assert_true(sshd->pid >= 0);
	if (!sshd->pid) {
		int log = open(sshd->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!unshare(CLONE_NEWNS)) {
			mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
			leave_fuse_mounts();
		}
		dup2(log, 1);
		dup2(log, 2);
		execl(SSHD, SSHD, "-D", "-e", "-f", path, (char *)NULL);
		_exit(127);
	}
	wait_until_up(sshd);
	sshd->keys[0] = sshd->key;
	sshd->profile = (struct profile){.id = (char *)(uintptr_t) "test",
	    .host = (char *)(uintptr_t) "127.0.0.1",
	    .port = sshd->port,
	    .user = (char *)(uintptr_t) "root",
	    .keys = sshd->keys,
	    .n_keys = 1,
	    .keys_given = true,
	    .known_hosts = sshd->known_hosts,
	    .host_key = HOST_KEY_STRICT,
	    .connections = 1,
	    .timeout = 60};
}

/* Stops and then kills pid's descendants, deepest first, by /proc. */
static void kill_children(pid_t pid)
{
	char path[64];
	FILE *in;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	in = fopen(path, "re");
	if (!in)
		return;
	while (fscanf(in, "%d", &child) == 1) {
		kill_children(child);
		kill(child, SIGKILL);
	}
	fclose(in);
}

void test_sshd_kill(struct test_sshd *sshd)
{
	if (!sshd->pid)
		return;
	kill(sshd->pid, SIGSTOP);
	kill_children(sshd->pid);
	kill(sshd->pid, SIGKILL);
	while (waitpid(sshd->pid, NULL, 0) < 0 && errno == EINTR)
		;
	sshd->pid = 0;
}

void test_sshd_stop(struct test_sshd *sshd)
{
	test_sshd_kill(sshd);
	if (sshd->dir[0])
		test_run("rm", "-rf", sshd->dir, NULL);
	sshd->dir[0] = '\0';
}
