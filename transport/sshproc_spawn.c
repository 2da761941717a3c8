/*
 * Starting and ending the ssh process.
 *
 * It writes what it says into a pipe of ours, and has a control socket in a private folder.
 */
#include "conf/log.h"
#include "conf/paths.h"
#include "transport/askpass.h"
#include "transport/child.h"
#include "transport/sshproc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Two requests of the size that OpenSSH takes; the kernel may allow less. */
#define PIPE_BYTES (512 * 1024)
#define END_MS 500

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* --- pipes ------------------------------------------------------------------------------- */

static int one_pipe(int *reader, int *writer, int ours_is_reader)
{
	int ends[2], ours;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	*reader = ends[0];
	*writer = ends[1];
	ours = ours_is_reader ? ends[0] : ends[1];
	if (fcntl(ours, F_SETFL, O_NONBLOCK))
		return -errno;
	/* Less is only slower. */
	if (fcntl(ours, F_SETPIPE_SZ, PIPE_BYTES) < 0)
		log_debug("F_SETPIPE_SZ: %s", strerror(errno));
	return 0;
}

int pipe_pair_make(struct pipe_pair *pair)
{
	int err;

	*pair = (struct pipe_pair){-1, -1, -1, -1};
	err = one_pipe(&pair->in, &pair->to, 0);
	if (!err)
		err = one_pipe(&pair->from, &pair->out, 1);
	if (err)
		pipe_pair_close(pair);
	return err;
}

void pipe_pair_close(struct pipe_pair *pair)
{
	close_fd(&pair->to);
	close_fd(&pair->from);
	close_fd(&pair->in);
	close_fd(&pair->out);
}

/* --- starting ---------------------------------------------------------------------------- */

/*
 * The control socket's name, in a folder that is the user's alone. Without one there is one channel
 * a session. ssh adds a dot and 16 letters to it while it binds.
 */
static void name_control(struct sshproc *process)
{
	const size_t longest = sizeof(process->control) - 1 - 17;
	static atomic_uint count;
	struct conf_error why = {.text = ""};
	char *folder = NULL;
	int len = -1;

	if (!paths_runtime_dir(&folder, &why))
		len = snprintf(process->control, sizeof(process->control), "%s/ssh-%d-%u", folder,
		    (int)getpid(), atomic_fetch_add(&count, 1));
	free(folder);
	if (len > 0 && (size_t)len <= longest) {
		/* Left by an earlier process of that number. */
		if (unlink(process->control) && errno != ENOENT)
			log_debug("%s: %s", process->control, strerror(errno));
		return;
	}
	process->control[0] = '\0';
	snprintf(process->folder, sizeof(process->folder), "/tmp/vastfs-ssh.XXXXXX");
	if (mkdtemp(process->folder)) {
		snprintf(process->control, sizeof(process->control), "%s/c", process->folder);
	} else {
		log_verbose("%s: no folder for ssh's control socket", process->view.where);
		process->folder[0] = '\0';
	}
}

int sshproc_start(struct sshproc *process, struct ssh_error *error)
{
	struct pipe_pair pair = {-1, -1, -1, -1};
	const bool may_ask = process->may_ask;
	const char *putty = sshproc_unreadable(process->view.target.profile);
	char *file, **args = NULL, **env;
	int err;

	if (putty)
		return ssh_fail(error, SSH_KEY_UNUSABLE, EACCES,
		    "%s: %s is in PuTTY's format, which the ssh command does not read. Convert it "
		    "with: puttygen '%s' -O private-openssh -o KEY, and name KEY; or leave "
		    "transport=ssh out, as vastfs itself reads it",
		    process->view.where, putty, putty);
	file = child_find_ssh();
	if (!file)
		return ssh_fail(error, SSH_CONFIG, ENOENT,
		    "there is no ssh command, which transport=ssh needs: install openssh-client");
	name_control(process);
	env = askpass_env(may_ask);
	args = sshproc_args(process, may_ask, env, sshproc_is_pinned(&process->view.profile));
	err = args ? pipe_pair_make(&pair) : -ENOMEM;
	if (!err)
		err = one_pipe(&process->said_fd, &process->said_end, 1);
	if (!err) {
		const int fds[3] = {pair.in, pair.out, process->said_end};

		err = child_start(file, args, env, fds, true, &process->pid, &process->pid_fd);
	}
	if (!err) {
		process->first_to = pair.to;
		process->first_from = pair.from;
		pair.to = pair.from = -1;
	}
	pipe_pair_close(&pair);
	sshproc_args_free(args);
	askpass_env_free(env);
	free(file);
	if (err)
		return ssh_fail(error, SSH_LOST, -err, "%s: can't start ssh: %s",
		    process->view.where, strerror(-err));
	process->heard_ms = ssh_now();
	return 0;
}

/* --- ending ------------------------------------------------------------------------------ */

/* The socket is ssh's, but its parent may have a copy of the descriptor. */
static void set_linger(const struct sshproc *process, int fd, bool always)
{
	int copy = (int)syscall(SYS_pidfd_getfd, process->pid_fd, fd, 0), domain = 0;
	socklen_t len = sizeof(domain);

	if (copy < 0)
		return;
	if (!getsockopt(copy, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain != AF_UNIX)
		ssh_discard_unsent(copy, always);
	close(copy);
}

void sshproc_discard_unsent(const struct sshproc *process, bool always)
{
	char folder[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)process->pid);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (fd >= 3)
			set_linger(process, fd, always);
	}
	if (dir)
		closedir(dir);
}

void sshproc_reap(struct sshproc *process)
{
	int status = 0;

	if (!process->pid)
		return;
	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	process->pid = 0;
	log_debug("%s: ssh ended with status %#x", process->view.where, (unsigned)status);
}

static void end_process(struct sshproc *process)
{
	if (process->pid_fd >= 0)
		sshproc_discard_unsent(process, false);
	child_end(&process->pid, &process->pid_fd);
}

void sshproc_stop(struct sshproc *process)
{
	if (process->pid)
		end_process(process);
	close_fd(&process->first_to);
	close_fd(&process->first_from);
	close_fd(&process->said_fd);
	close_fd(&process->said_end);
	close_fd(&process->pid_fd);
	packet_free(process->version);
	process->version = NULL;
	if (process->control[0] && unlink(process->control) && errno != ENOENT)
		log_debug("%s: %s", process->control, strerror(errno));
	if (process->folder[0] && rmdir(process->folder))
		log_debug("%s: %s", process->folder, strerror(errno));
	process->folder[0] = process->control[0] = '\0';
}
