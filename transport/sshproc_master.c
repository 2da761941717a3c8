/*
 * An ssh process without a session of its own, for the forwards: it stands for the connection, and
 * takes requests over its control socket, which is there once it has logged in.
 */
#include "transport/probe.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STEPS 3	   /* connecting, host key, authentication: a timeout each */
#define LOOK_MS 20 /* between two looks at the socket, once logged in */

static bool is_there(const struct sshproc *process)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there;

	strcpy(address.sun_path, process->control);
	there = fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (fd >= 0)
		close(fd);
	return there;
}

static int fail_ended(struct sshproc *process, struct ssh_error *error)
{
	sshproc_reap(process);
	sshsays_read(process);
	sshsays_error(process, error);
	return -error->err;
}

int sshproc_await_control(struct sshproc *process, struct ssh_error *error)
{
	uint64_t begin = ssh_now(),
		 deadline = begin + STEPS * (ssh_deadline(process->target) - begin);

	if (!process->control[0])
		return ssh_fail(error, SSH_CONFIG, ENOTSUP,
		    "%s: there is no folder for ssh's control socket: set $XDG_RUNTIME_DIR to one "
		    "with a short name",
		    process->view.where);
	while (ssh_now() < deadline) {
		struct pollfd fds[3] = {{.fd = process->pid_fd, .events = POLLIN},
		    {.fd = process->said_fd, .events = POLLIN},
		    {.fd = process->cancel->event_fd, .events = POLLIN}};

		if (atomic_load(&process->cancel->cancelled))
			return ssh_fail(
			    error, SSH_CANCELLED, ECANCELED, "%s: cancelled", process->view.where);
		if (process->says.authenticated && is_there(process))
			return 0;
		if (poll(fds, 3, process->says.authenticated ? LOOK_MS : 1000) < 0 &&
		    errno != EINTR)
			return ssh_fail(error, SSH_LOST, errno, "%s: poll: %s", process->view.where,
			    strerror(errno));
		if (fds[1].revents)
			sshsays_read(process);
		if (fds[0].revents)
			return fail_ended(process, error);
	}
	return ssh_fail(error, SSH_TIMEOUT, ETIMEDOUT,
	    "%s: ssh did not log in within the time. The link or the instance hangs; try again",
	    process->view.where);
}

int sshproc_master_new(const struct ssh_target *target, struct ssh_cancel *cancel, bool may_ask,
    struct sshproc **out, struct ssh_error *error)
{
	struct sshproc *process = calloc(1, sizeof(*process));
	int err;

	*out = NULL;
	if (!process)
		return ssh_fail(error, SSH_LOST, ENOMEM, "out of memory");
	process->target = target;
	process->cancel = cancel;
	process->may_ask = may_ask;
	process->pid_fd = process->said_fd = process->said_end = -1;
	process->first_to = process->first_from = -1;
	err = ssh_try_places(target, cancel, sshproc_establish, process, error);
	if (err) {
		free(process);
		return err;
	}
	*out = process;
	return 0;
}

void sshproc_master_free(struct sshproc *process)
{
	if (!process)
		return;
	sshproc_stop(process);
	free(process);
}

int probe_ssh(const struct ssh_target *target, struct ssh_cancel *cancel, struct sshproc **out,
    struct probe_login *login, struct ssh_error *error)
{
	int err = sshproc_master_new(target, cancel, true, out, error);

	if (!err) {
		snprintf(login->cipher, sizeof(login->cipher), "%s", (*out)->says.cipher);
		snprintf(login->key, sizeof(login->key), "%s", (*out)->says.accepted);
	}
	return err;
}

void probe_ssh_end(struct sshproc *process)
{
	sshproc_master_free(process);
}
