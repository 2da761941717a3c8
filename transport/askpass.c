/*
 * On the socket: the helper sends a byte, '+' or '-' for "may ask a person", and the question, and
 * closes its side; the answer is '+' and the words, or nothing.
 */
#include "transport/askpass.h"
#include "conf/log.h"
#include "conf/paths.h"
#include "transport/ssh_secret.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define QUESTION_MAX 4096
#define DEPTH_MAX 8 /* of processes between the daemon and a helper */
#define HELPER_SECONDS 5
#define PERSON_SECONDS 600
#define SEEN_MAX 32
#define ENV_PLACE "VASTFS_ASKPASS"
#define ENV_MAY "VASTFS_ASKPASS_MAY"

/* What each ssh was told: the same question again means that the answer was wrong. */
struct seen {
	pid_t ssh;
	char file[128];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the following */
static bool used, tried;
static ssh_ask *host_key_ask;
static struct sockaddr_un place; /* sun_path "" when there is none */
static pid_t owner;

/* --- the daemon's side --------------------------------------------------------------- */

/* The parent of a process, 0 when not known. */
static pid_t parent_of(pid_t pid)
{
	char path[64], text[512], *end;
	ssize_t n;
	int fd, parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	/* "pid (name) state parent"; the name may have anything in it */
	end = strrchr(text, ')');
	if (!end || sscanf(end + 1, " %*c %d", &parent) != 1)
		return 0;
	return parent;
}

/* The ssh that a helper at the socket belongs to; 0 for anybody else. */
static pid_t asker(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	pid_t pid, ssh;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.uid != geteuid())
		return 0;
	ssh = pid = parent_of(peer.pid);
	for (int i = 0; i < DEPTH_MAX && pid > 1; i++, pid = parent_of(pid)) {
		if (pid == getpid())
			return ssh;
	}
	return 0;
}

static bool was_seen(pid_t ssh, const char *file)
{
	static struct seen seen[SEEN_MAX];
	static unsigned next;

	for (unsigned i = 0; i < SEEN_MAX; i++) {
		if (seen[i].ssh == ssh && !strncmp(seen[i].file, file, 120))
			return true;
	}
	seen[next].ssh = ssh;
	snprintf(seen[next].file, sizeof(seen[next].file), "%.120s", file);
	next = (next + 1) % SEEN_MAX;
	return false;
}

/* "… fingerprint is SHA256:….": what may be typed instead of yes. */
static bool ask_host_key(const char *question, char *answer)
{
	char fingerprint[128] = "";
	const char *at = strstr(question, "fingerprint is ");
	ssh_ask *ask = host_key_ask;

	if (!ask)
		return false;
	if (at)
		snprintf(fingerprint, sizeof(fingerprint), "%.*s", (int)strcspn(at + 15, " \r\n"),
		    at + 15);
	/* the sentence's full stop */
	if (fingerprint[0] && fingerprint[strlen(fingerprint) - 1] == '.')
		fingerprint[strlen(fingerprint) - 1] = '\0';
	strcpy(answer, ask(NULL, question, fingerprint[0] ? fingerprint : NULL) ? "yes" : "no");
	return true;
}

/* answer has SSH_SECRET_MAX bytes. */
static bool find_answer(pid_t ssh, const char *question, bool may_ask, char *answer)
{
	static const char key[] = "Enter passphrase for key '";
	char file[QUESTION_MAX];
	const char *end;

	if (strncmp(question, key, sizeof(key) - 1)) {
		if (!may_ask)
			return false;
		if (strstr(question, "(yes/no"))
			return ask_host_key(question, answer);
		return ssh_secret_once(question, answer);
	}
	end = strrchr(question, '\'');
	snprintf(file, sizeof(file), "%.*s", (int)(end - question) - (int)(sizeof(key) - 1),
	    question + sizeof(key) - 1);
	return ssh_secret_get(file, may_ask, was_seen(ssh, file), answer);
}

static void serve(int fd)
{
	const struct timeval patience = {.tv_sec = HELPER_SECONDS};
	char question[QUESTION_MAX], answer[1 + SSH_SECRET_MAX] = "+";
	size_t len = 0;
	ssize_t n = 0;
	pid_t ssh = asker(fd);

	if (!ssh || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		return;
	while (len < sizeof(question) - 1 &&
	       (n = recv(fd, question + len, sizeof(question) - 1 - len, 0)) > 0)
		len += (size_t)n;
	question[len] = '\0';
	if (n == 0 && len > 1 && find_answer(ssh, question + 1, question[0] == '+', answer + 1) &&
	    send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
		log_debug("ssh's question: %s", strerror(errno));
	OPENSSL_cleanse(answer, sizeof(answer));
}

static void *thread_main(void *arg)
{
	int listener = *(int *)arg, fd;

	free(arg);
	pthread_setname_np(pthread_self(), "vastfs-askpass");
	for (;;) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			break;
		if (fd < 0)
			continue;
		serve(fd);
		close(fd);
	}
	log_warning("ssh's questions are answered no more: %s", strerror(errno));
	close(listener);
	return NULL;
}

static void remove_place(void)
{
	if (place.sun_path[0] && owner == getpid())
		unlink(place.sun_path);
}

static int start_thread(int listener)
{
	int *arg = malloc(sizeof(*arg));
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int err;

	if (!arg)
		return -ENOMEM;
	*arg = listener;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attr, thread_main, arg);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		free(arg);
	return -err;
}

/* With the lock held. */
static int begin(void)
{
	struct conf_error why = {.text = ""};
	char *folder = NULL;
	int len, fd, err = paths_runtime_dir(&folder, &why);

	if (err)
		return err;
	place.sun_family = AF_UNIX;
	len = snprintf(place.sun_path, sizeof(place.sun_path), "%s/ask-%d", folder, (int)getpid());
	free(folder);
	if (len < 0 || (size_t)len >= sizeof(place.sun_path))
		return -ENAMETOOLONG;
	unlink(place.sun_path); /* of an earlier process of that number */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	owner = getpid();
	if (bind(fd, (struct sockaddr *)&place, sizeof(place)) || chmod(place.sun_path, 0600) ||
	    listen(fd, 16))
		err = -errno;
	if (!err)
		err = start_thread(fd);
	if (err) {
		remove_place();
		close(fd);
		return err;
	}
	atexit(remove_place);
	return 0;
}

void askpass_use(ssh_ask *ask)
{
	pthread_mutex_lock(&lock);
	used = true;
	host_key_ask = ask;
	pthread_mutex_unlock(&lock);
}

/* --- starting ssh -------------------------------------------------------------------- */

static bool is_ours(const char *entry)
{
	static const char *const names[] = {
	    "SSH_ASKPASS=", "SSH_ASKPASS_REQUIRE=", ENV_PLACE "=", ENV_MAY "="};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strncmp(entry, names[i], strlen(names[i])))
			return true;
	}
	return false;
}

static char **make_env(bool may_ask)
{
	size_t n = 0, count = 0;
	char **env;

	while (environ[count])
		count++;
	env = calloc(count + 5, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		if (!is_ours(environ[i]))
			env[n++] = strdup(environ[i]);
	}
	/* this program, also when its file was replaced meanwhile */
	if (asprintf(&env[n++], "SSH_ASKPASS=/proc/%d/exe", (int)getpid()) < 0 ||
	    asprintf(&env[n++], ENV_PLACE "=%s", place.sun_path) < 0)
		n = 0;
	else
		env[n++] = strdup("SSH_ASKPASS_REQUIRE=force");
	if (n && may_ask)
		env[n++] = strdup(ENV_MAY "=1");
	for (size_t i = 0; i < n; i++) {
		if (!env[i])
			n = 0;
	}
	if (n)
		return env;
	askpass_env_free(env);
	return NULL;
}

char **askpass_env(bool may_ask)
{
	char **env = NULL;
	int err;

	pthread_mutex_lock(&lock);
	/* The thread of a parent that has forked is not ours. */
	if (used && (!tried || owner != getpid())) {
		tried = true;
		place.sun_path[0] = '\0';
		err = begin();
		if (err) {
			log_verbose("ssh has to ask by itself: %s", strerror(-err));
			place.sun_path[0] = '\0';
			owner = getpid();
		}
	}
	if (used && place.sun_path[0])
		env = make_env(may_ask);
	pthread_mutex_unlock(&lock);
	return env;
}

void askpass_env_free(char **env)
{
	for (size_t i = 0; env && env[i]; i++)
		free(env[i]);
	free(env);
}

/* --- the helper ---------------------------------------------------------------------- */

static int help(const char *where, const char *question)
{
	const struct timeval patience = {.tv_sec = PERSON_SECONDS};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char answer[1 + SSH_SECRET_MAX];
	size_t len = 0;
	ssize_t n = -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(where) >= sizeof(address.sun_path))
		return 1;
	strcpy(address.sun_path, where);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    send(fd, getenv(ENV_MAY) ? "+" : "-", 1, MSG_NOSIGNAL) != 1 ||
	    send(fd, question, strlen(question), MSG_NOSIGNAL) != (ssize_t)strlen(question) ||
	    shutdown(fd, SHUT_WR))
		return 1;
	while (len < sizeof(answer) && (n = recv(fd, answer + len, sizeof(answer) - len, 0)) > 0)
		len += (size_t)n;
	if (n || !len || answer[0] != '+')
		return 1;
	/* ssh reads a line */
	printf("%.*s\n", (int)len - 1, answer + 1);
	fflush(stdout);
	OPENSSL_cleanse(answer, sizeof(answer));
	return 0;
}

int askpass_helper(int argc, char **argv)
{
	const char *where = getenv(ENV_PLACE), *program = getenv("SSH_ASKPASS");
	const char *kind = getenv("SSH_ASKPASS_PROMPT");

	/* ssh's other children (ProxyCommand) have the environment too, and may be vastfs */
	if (!where || !program || argc != 2 || strcmp(argv[0], program))
		return -1;
	/* "touch your key now": there is nothing to answer */
	if (kind && !strcmp(kind, "none"))
		return 0;
	return help(where, argv[1]);
}
