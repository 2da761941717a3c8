/* The thread that runs programs on the instance, and its session. */
#include "transport/commands.h"
#include "conf/log.h"
#include "transport/commands_internal.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEEP_MS 60000 /* the session, after the last program */
#define DEAD_MS 30000 /* bytes that nobody acknowledges */
#define CLIENTS_MAX 64
#define LEAVE_SECONDS 2
#define LEAVE_MS 1000
#define AGAIN_MS 20
#define POLLS_MAX (3 + (COMMAND_POLLS + 1) * CLIENTS_MAX)

/* --- the session ------------------------------------------------------------------------- */

static void drop_session(struct commands *commands, const char *why)
{
	struct command *command;

	if (!commands->carrier)
		return;
	TAILQ_FOREACH (command, &commands->list, link)
		(void)command_lost(command, why);
	commands->opening = commands->starting = NULL;
	if (commands->connection)
		ssh_close(commands->connection);
	sshproc_master_free(commands->process);
	commands->connection = NULL;
	commands->process = NULL;
	commands->carrier = NULL;
	commands->used = commands->process_ended = false;
}

static bool wants_session(const struct commands *commands)
{
	const struct command *command;

	TAILQ_FOREACH (command, &commands->list, link) {
		if (command->state == COMMAND_WAITING && !command->left)
			return true;
	}
	return false;
}

/* ssh does not tell of signals: a program whose shell ends with it is asked for again. Whether it
 * can be carried as it is. */
static bool stays_as_asked(struct command *command)
{
	if (command->stays)
		return true;
	command->state = COMMAND_GREETED;
	command_tell(command, 'N', NULL, 0);
	return false;
}

static bool wants_process(struct commands *commands)
{
	struct command *command;
	bool wants = false;

	TAILQ_FOREACH (command, &commands->list, link) {
		if (command->state == COMMAND_WAITING)
			wants |= stays_as_asked(command);
	}
	return wants;
}

static int dial_library(struct commands *commands, struct ssh_error *error)
{
	unsigned dead = DEAD_MS;
	int err = ssh_connect(&commands->target, &commands->cancel, &commands->connection, error);

	if (err) {
		commands->connection = NULL;
		return err;
	}
	/* Or one call's read would bring what another has looked for in vain, and with an empty
	 * socket nobody would look again. */
	commands->connection->batched = true;
	if (setsockopt(ssh_socket(commands->connection), IPPROTO_TCP, TCP_USER_TIMEOUT, &dead,
		sizeof(dead)))
		log_verbose("TCP_USER_TIMEOUT: %s", strerror(errno));
	commands->carrier = &command_channel;
	return 0;
}

static int dial_process(struct commands *commands, struct ssh_error *error)
{
	int err = sshproc_master_new(
	    &commands->target, &commands->cancel, false, &commands->process, error);

	if (!err)
		commands->carrier = &command_process;
	return err;
}

static bool by_process(const struct commands *commands)
{
	return commands->process_only || ssh_needs_process(commands->target.profile);
}

static void dial(struct commands *commands)
{
	struct command *command;
	struct ssh_error error;
	int err = 0;

	if (!by_process(commands)) {
		err = dial_library(commands, &error);
		commands->process_only = err && ssh_is_beyond_library(error.kind) &&
					 commands->target.profile->transport == TRANSPORT_AUTO;
	}
	if (by_process(commands))
		err = wants_process(commands) ? dial_process(commands, &error) : 0;
	if (!err)
		return;
	TAILQ_FOREACH (command, &commands->list, link) {
		if (command->state == COMMAND_WAITING)
			command_fail(command, error.text);
	}
}

/* --- a turn -------------------------------------------------------------------------------- */

static void take_incoming(struct commands *commands)
{
	struct command *command;
	uint64_t count;

	if (read(commands->cancel.event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_debug("eventfd: %s", strerror(errno));
	pthread_mutex_lock(&commands->lock);
	while ((command = TAILQ_FIRST(&commands->incoming))) {
		TAILQ_REMOVE(&commands->incoming, command, link);
		TAILQ_INSERT_TAIL(&commands->list, command, link);
		command_tell(command, 'R', NULL, 0);
	}
	pthread_mutex_unlock(&commands->lock);
}

/* Ended, told, and its channel forgotten by libssh2. */
static bool is_over(struct command *command)
{
	if (command->state != COMMAND_ENDED ||
	    (command->fd >= 0 && command->out_len && !command->left))
		return false;
	return !command->owner->carrier || command->owner->carrier->forget(command, false);
}

static void bury(struct commands *commands)
{
	struct command *command, *next;

	for (command = TAILQ_FIRST(&commands->list); command; command = next) {
		next = TAILQ_NEXT(command, link);
		if (!is_over(command))
			continue;
		TAILQ_REMOVE(&commands->list, command, link);
		command_free(command);
		atomic_fetch_sub(&commands->count, 1);
		commands->used = true;
		commands->idle_ms = ssh_now();
	}
}

/* Whether anything moved. */
static bool turn(struct commands *commands)
{
	struct command *command;
	bool moved = false;

	TAILQ_FOREACH (command, &commands->list, link) {
		int rc;

		moved |= command_read(command);
		if (command->state == COMMAND_WAITING && commands->carrier &&
		    (!commands->process || stays_as_asked(command)))
			command->state = COMMAND_OPENING;
		rc = commands->carrier ? command_serve(command) : 0;
		if (rc < 0) {
			drop_session(commands, "the connection to the instance was lost");
			return true;
		}
		if (!commands->carrier && command->left)
			command->state = COMMAND_ENDED;
		moved |= rc > 0;
		moved |= command_write(command);
	}
	if (commands->process_ended || (commands->connection && ssh_flush(commands->connection))) {
		drop_session(commands, "the connection to the instance was lost");
		return true;
	}
	bury(commands);
	return moved;
}

/* The session's part of what is slept on: two. */
static void poll_session(struct commands *commands, bool busy, struct pollfd *fds)
{
	fds[0].fd = fds[1].fd = -1;
	if (commands->process) {
		fds[0] = (struct pollfd){.fd = commands->process->said_fd, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = commands->process->pid_fd, .events = POLLIN};
	} else if (commands->connection && busy) {
		fds[0].fd = ssh_socket(commands->connection);
		fds[0].events = ssh_poll_events(commands->connection);
	}
}

static void hear_session(struct commands *commands, const struct pollfd *fds)
{
	if (commands->connection)
		ssh_readable(commands->connection);
	if (commands->process && fds[0].revents)
		sshsays_read(commands->process);
	/* what came before its end is in the pipes still, for one more turn */
	if (commands->process && fds[1].revents)
		commands->process_ended = true;
}

static unsigned poll_command(
    const struct commands *commands, const struct command *command, struct pollfd *fds)
{
	unsigned n = commands->carrier ? commands->carrier->poll(command, fds) : 0;

	if (command->fd >= 0)
		fds[n++] = (struct pollfd){.fd = command->fd,
		    .events = (short)(POLLIN | (command->out_len ? POLLOUT : 0))};
	return n;
}

/* Sleeps until there is something to do, at most timeout ms (-1: for ever). */
static void sleep_now(struct commands *commands, int timeout)
{
	struct pollfd fds[POLLS_MAX] = {{.fd = commands->cancel.event_fd, .events = POLLIN}};
	struct command *command;
	bool busy = !TAILQ_EMPTY(&commands->list);
	unsigned n = 3;

	if (atomic_load(&commands->stop)) /* it stays readable */
		fds[0].fd = -1;
	poll_session(commands, busy, fds + 1);
	if (commands->carrier && !busy && timeout < 0) {
		uint64_t idle = ssh_now() - commands->idle_ms;

		timeout = idle < KEEP_MS ? (int)(KEEP_MS - idle) : 0;
	}
	TAILQ_FOREACH (command, &commands->list, link) {
		if (n + COMMAND_POLLS + 1 > POLLS_MAX)
			break;
		n += poll_command(commands, command, fds + n);
		/* the queue of ssh's control socket was full */
		if (commands->process && command->state == COMMAND_OPENING && timeout < 0)
			timeout = AGAIN_MS;
	}
	if (poll(fds, (nfds_t)n, timeout) < 0 && errno != EINTR)
		log_debug("poll: %s", strerror(errno));
	hear_session(commands, fds + 1);
	if (!busy && commands->carrier && ssh_now() - commands->idle_ms >= KEEP_MS)
		drop_session(commands, "");
}

static void *thread_main(void *arg)
{
	static const char unmounted[] = "the instance was unmounted";
	struct commands *commands = arg;
	struct command *command;
	uint64_t until;

	pthread_setname_np(pthread_self(), "vastfs-command");
	while (!atomic_load(&commands->stop)) {
		take_incoming(commands);
		if (!commands->carrier && wants_session(commands))
			dial(commands);
		if (!turn(commands))
			sleep_now(commands, -1);
	}
	until = ssh_now() + LEAVE_MS;
	TAILQ_FOREACH (command, &commands->list, link) {
		command_tell(command, 'F', unmounted, sizeof(unmounted) - 1);
		(void)command_write(command);
		command->left = true;
	}
	/* The programs learn it too, as far as there is time. */
	while (!TAILQ_EMPTY(&commands->list) && commands->carrier && ssh_now() < until) {
		if (!turn(commands))
			sleep_now(commands, (int)(until - ssh_now()));
	}
	drop_session(commands, "");
	OPENSSL_thread_stop();
	return NULL;
}

/* --- the handle ------------------------------------------------------------------------------ */

static void wake(struct commands *commands)
{
	uint64_t one = 1;

	if (write(commands->cancel.event_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it is readable already */
}

int commands_new(struct commands **out, const struct ssh_target *target)
{
	struct commands *commands = calloc(1, sizeof(*commands));
	int err;

	*out = NULL;
	if (!commands)
		return -ENOMEM;
	err = ssh_cancel_init(&commands->cancel);
	if (err) {
		free(commands);
		return err;
	}
	commands->target = *target;
	commands->target.ask = NULL; /* the file system's session has asked */
	pthread_mutex_init(&commands->lock, NULL);
	TAILQ_INIT(&commands->incoming);
	TAILQ_INIT(&commands->list);
	*out = commands;
	return 0;
}

static int start_thread(struct commands *commands)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&commands->thread, NULL, thread_main, commands);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	commands->threaded = !err;
	return -err;
}

int commands_add(struct commands *commands, int fd)
{
	struct command *command;
	int err = commands->threaded ? 0 : start_thread(commands);

	command = err || atomic_load(&commands->count) >= CLIENTS_MAX / 2
		      ? NULL
		      : command_new(commands, fd);
	if (!command) {
		close(fd);
		return err ? err : -EAGAIN;
	}
	atomic_fetch_add(&commands->count, 1);
	pthread_mutex_lock(&commands->lock);
	TAILQ_INSERT_TAIL(&commands->incoming, command, link);
	pthread_mutex_unlock(&commands->lock);
	wake(commands);
	return 0;
}

unsigned commands_count(struct commands *commands)
{
	return commands ? atomic_load(&commands->count) : 0;
}

static void free_list(struct command_list *list)
{
	struct command *command;

	while ((command = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, command, link);
		command_free(command);
	}
}

bool commands_free(struct commands *commands)
{
	struct timespec until;

	if (!commands)
		return true;
	atomic_store(&commands->stop, true);
	ssh_cancel_set(&commands->cancel);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LEAVE_SECONDS;
	if (commands->threaded && pthread_timedjoin_np(commands->thread, NULL, &until)) {
		pthread_detach(commands->thread); /* it may still use all this */
		return false;
	}
	free_list(&commands->list);
	free_list(&commands->incoming);
	pthread_mutex_destroy(&commands->lock);
	ssh_cancel_fini(&commands->cancel);
	free(commands);
	return true;
}
