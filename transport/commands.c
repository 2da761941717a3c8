/* The thread that runs programs on the instance, and its session. */
#include "transport/commands.h"
#include "conf/log.h"
#include "transport/commands_internal.h"
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

/* --- the session ------------------------------------------------------------------------- */

static void drop_session(struct commands *commands, const char *why)
{
	struct command *command;

	TAILQ_FOREACH (command, &commands->list, link)
		(void)command_lost(command, why);
	commands->opening = NULL;
	ssh_close(commands->connection);
	commands->connection = NULL;
	commands->used = false;
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

/* What the file system's sessions do through ssh processes, the client does through one, too. */
static bool is_beyond_library(const struct commands *commands, enum ssh_failure kind)
{
	return commands->target.profile->transport != TRANSPORT_LIBSSH2 &&
	       (commands->target.profile->transport == TRANSPORT_SSH || kind == SSH_NO_ALGORITHM ||
		   kind == SSH_KEY_UNUSABLE || kind == SSH_NO_KEY);
}

static void dial(struct commands *commands)
{
	unsigned dead = DEAD_MS;
	struct ssh_error error;
	struct command *command;

	error.kind = SSH_CONFIG;
	if (commands->target.profile->transport != TRANSPORT_SSH &&
	    !ssh_connect(&commands->target, &commands->cancel, &commands->connection, &error)) {
		if (setsockopt(ssh_socket(commands->connection), IPPROTO_TCP, TCP_USER_TIMEOUT,
			&dead, sizeof(dead)))
			log_verbose("TCP_USER_TIMEOUT: %s", strerror(errno));
		return;
	}
	commands->connection = NULL;
	TAILQ_FOREACH (command, &commands->list, link) {
		if (command->state != COMMAND_WAITING)
			continue;
		if (is_beyond_library(commands, error.kind)) {
			command_tell(command, 'N', NULL, 0);
			command->state = COMMAND_ENDED;
		} else {
			command_fail(command, error.text);
		}
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
	return !command->channel || libssh2_channel_free(command->channel) != LIBSSH2_ERROR_EAGAIN;
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
		if (command->state == COMMAND_WAITING && commands->connection)
			command->state = COMMAND_OPENING;
		rc = commands->connection ? command_serve(command) : 0;
		if (rc < 0) {
			drop_session(commands, "the connection to the instance was lost");
			return true;
		}
		if (!commands->connection && command->left)
			command->state = COMMAND_ENDED;
		moved |= rc > 0;
		moved |= command_write(command);
	}
	if (commands->connection && ssh_flush(commands->connection)) {
		drop_session(commands, "the connection to the instance was lost");
		return true;
	}
	bury(commands);
	return moved;
}

/* Sleeps until there is something to do, at most timeout ms (-1: for ever). */
static void sleep_now(struct commands *commands, int timeout)
{
	struct pollfd fds[2 + CLIENTS_MAX] = {{.fd = commands->cancel.event_fd, .events = POLLIN}};
	struct command *command;
	bool busy = !TAILQ_EMPTY(&commands->list);
	int n = 2;

	fds[1].fd = -1;
	if (atomic_load(&commands->stop)) /* it stays readable */
		fds[0].fd = -1;
	if (commands->connection && busy) {
		fds[1].fd = ssh_socket(commands->connection);
		fds[1].events = ssh_poll_events(commands->connection);
	}
	if (commands->connection && !busy && timeout < 0) {
		uint64_t idle = ssh_now() - commands->idle_ms;

		timeout = idle < KEEP_MS ? (int)(KEEP_MS - idle) : 0;
	}
	TAILQ_FOREACH (command, &commands->list, link) {
		if (command->fd < 0 || n == 2 + CLIENTS_MAX)
			continue;
		fds[n].fd = command->fd;
		fds[n++].events = (short)(POLLIN | (command->out_len ? POLLOUT : 0));
	}
	if (poll(fds, (nfds_t)n, timeout) < 0 && errno != EINTR)
		log_debug("poll: %s", strerror(errno));
	if (commands->connection)
		ssh_readable(commands->connection);
	if (!busy && commands->connection && ssh_now() - commands->idle_ms >= KEEP_MS)
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
		if (!commands->connection && wants_session(commands))
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
	while (!TAILQ_EMPTY(&commands->list) && commands->connection && ssh_now() < until) {
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
		command->channel = NULL;
		command_free(command);
	}
}

void commands_free(struct commands *commands)
{
	struct timespec until;

	if (!commands)
		return;
	atomic_store(&commands->stop, true);
	ssh_cancel_set(&commands->cancel);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LEAVE_SECONDS;
	if (commands->threaded && pthread_timedjoin_np(commands->thread, NULL, &until)) {
		pthread_detach(commands->thread); /* it may still use all this */
		return;
	}
	free_list(&commands->list);
	free_list(&commands->incoming);
	pthread_mutex_destroy(&commands->lock);
	ssh_cancel_fini(&commands->cancel);
	free(commands);
}
