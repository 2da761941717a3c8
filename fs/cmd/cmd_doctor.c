/*
 * vastfs doctor: from this machine to the files of the instance, a step at a time. Each step says
 * how it is; one that fails, what the cause is and what cures it. Steps that need a failed one are
 * left out.
 */
#include "conf/keyfile.h"
#include "conf/shquote.h"
#include "fs/cmd/ask.h"
#include "fs/cmd/ask_ssh.h"
#include "fs/cmd/commands.h"
#include "fs/cmd/doctor.h"
#include "transport/askpass.h"
#include "transport/probe.h"
#include "transport/ssh_secret.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_TIMEOUT 15
#define SKEW_SECONDS 5
#define LITTLE_SPACE_KIB (1024 * 1024)

/* --- words ---------------------------------------------------------------------------- */

static void say(const char *how, const char *what, const char *format, va_list args)
{
	bool color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	const char *on = !color			? ""
			 : !strcmp(how, "FAIL") ? "\033[31m"
			 : !strcmp(how, "ok")	? "\033[32m"
						: "\033[33m";

	printf("%s%-4s%s  %-16s ", on, how, color ? "\033[0m" : "", what);
	vprintf(format, args);
	putchar('\n');
	fflush(stdout);
}

void doctor_ok(const char *what, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("ok", what, format, args);
	va_end(args);
}

void doctor_note(const char *what, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("note", what, format, args);
	va_end(args);
}

void doctor_fail(struct doctor *doctor, const char *what, const char *cause, const char *cure)
{
	bool color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");

	doctor->failures++;
	printf(
	    "%sFAIL%s  %-16s %s\n", color ? "\033[31m" : "", color ? "\033[0m" : "", what, cause);
	printf("      %-16s %s\n", "", cure);
	fflush(stdout);
}

/* The texts of the transport say the cause first and then what to do. */
void doctor_fail_text(struct doctor *doctor, const char *what, const char *text)
{
	char cause[1024];
	const char *end = strstr(text, ". "), *next = end ? end + 2 : NULL;

	if (!end) {
		end = strstr(text, "; ");
		next = end ? end + 2 : NULL;
	}
	snprintf(cause, sizeof(cause), "%.*s", (int)(end ? end - text : (long)strlen(text)), text);
	doctor_fail(doctor, what, cause,
	    next && *next ? next : "See the guide doc/troubleshooting.md, or mount with -v -v");
}

/* --- the connection -------------------------------------------------------------------- */

static void check_key_files(struct doctor *doctor)
{
	const struct profile *profile = doctor->profile;

	for (size_t i = 0; i < profile->n_keys; i++)
		doctor_ok("key file", "%s", profile->keys[i]);
	if (keyfile_agent_present())
		doctor_ok("ssh-agent", "its keys are tried too");
	else if (!profile->n_keys)
		doctor_fail(doctor, "key file", "there is no private key that can be used",
		    "Make one: vastfs key new, and add its public half to the instance");
}

static bool is_host_key(enum ssh_failure kind)
{
	return kind == SSH_HOST_KEY_UNKNOWN || kind == SSH_HOST_KEY_CHANGED ||
	       kind == SSH_NO_ALGORITHM;
}

static bool is_about_keys(enum ssh_failure kind)
{
	return kind == SSH_DENIED || kind == SSH_DENIED_TRANSIENT || kind == SSH_NO_KEY ||
	       kind == SSH_KEY_UNUSABLE || kind == SSH_KEY_BEYOND;
}

/* What is known once it came to keys. */
static void say_known(struct doctor *doctor)
{
	doctor_ok("host key", "is the one in %s", doctor->profile->known_hosts);
	check_key_files(doctor);
}

static void fail_connection(struct doctor *doctor, const struct ssh_error *error)
{
	if (is_about_keys(error->kind))
		say_known(doctor);
	doctor_fail_text(doctor,
	    is_host_key(error->kind)	 ? "host key"
	    : is_about_keys(error->kind) ? "authentication"
					 : "connection",
	    error->text);
}

/* The library's error, if it was tried (library->kind), says more about keys. */
static bool connect_by_ssh(struct doctor *doctor, const struct ssh_error *library)
{
	struct ssh_error error;
	struct probe_login login = {.cipher = ""};

	if (probe_ssh(&doctor->target, &doctor->cancel, &doctor->way.process, &login, &error)) {
		fail_connection(doctor,
		    library->kind == SSH_KEY_UNUSABLE && is_about_keys(error.kind) ? library
										   : &error);
		return false;
	}
	if (library->kind)
		doctor_note("ssh", "the library can't: %s", library->text);
	say_known(doctor);
	doctor_ok("authentication", "as %s, by ssh(1) (%s)%s%s", doctor->profile->user,
	    login.cipher, login.key[0] ? ", with " : "", login.key);
	return true;
}

static bool connect_instance(struct doctor *doctor)
{
	const char *methods;
	struct ssh_error error;
	int err;

	if (ssh_needs_process(doctor->profile))
		return connect_by_ssh(doctor, &(struct ssh_error){.kind = SSH_OK});
	err = ssh_connect(&doctor->target, &doctor->cancel, &doctor->way.connection, &error);
	if (err && doctor->profile->transport == TRANSPORT_AUTO &&
	    (error.kind == SSH_NO_ALGORITHM || error.kind == SSH_KEY_UNUSABLE ||
		error.kind == SSH_KEY_BEYOND))
		return connect_by_ssh(doctor, &error);
	if (err) {
		fail_connection(doctor, &error);
		return false;
	}
	say_known(doctor);
	methods =
	    libssh2_session_methods(ssh_session(doctor->way.connection), LIBSSH2_METHOD_CRYPT_SC);
	doctor_ok("authentication", "as %s (%s)", doctor->profile->user, methods ? methods : "?");
	return true;
}

/* --- what is there ---------------------------------------------------------------------- */

/* The folder that the profile names; NULL: whatever is there. */
static const char *named_folder(const struct profile *profile)
{
	return profile->path && profile->path[0] != '~' ? profile->path : NULL;
}

static void judge_folder(struct doctor *doctor, const struct probe_sftp *sftp)
{
	const char *path = doctor->profile->path;
	char cause[1024];

	if (sftp->folder == FOLDER_THERE)
		doctor_ok("folder", "%s", path);
	if (sftp->folder != FOLDER_NONE)
		return;
	snprintf(cause, sizeof(cause), "there is no folder %s on the instance", path);
	doctor_fail(doctor, "folder", cause,
	    "Set path in the profile to one that is there, or make it there");
}

static void check_sftp(struct doctor *doctor)
{
	static const char *const wanted[] = {"posix-rename@openssh.com", "fsync@openssh.com",
	    "statvfs@openssh.com", "hardlink@openssh.com", "limits@openssh.com"};
	struct probe_sftp sftp;
	char missing[256] = "";
	size_t at = 0;
	int err = probe_sftp(&doctor->way, named_folder(doctor->profile), &sftp);

	if (sftp.noise[0])
		return; /* check_shell says it */
	if (err) {
		doctor_fail(doctor, "sftp",
		    err == -ENOSYS ? "the server has no SFTP subsystem, or its program ends at once"
				   : "the SFTP server does not answer",
		    "On the instance: the line \"Subsystem sftp internal-sftp\" in "
		    "/etc/ssh/sshd_config, and restart sshd");
		return;
	}
	doctor_ok("sftp", "version %u; %s", sftp.version,
	    sftp.extensions[0] ? sftp.extensions : "no extensions");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		if (!strstr(sftp.extensions, wanted[i]))
			at +=
			    (size_t)snprintf(missing + at, sizeof(missing) - at, " %s", wanted[i]);
	}
	if (missing[0])
		doctor_note("sftp extensions",
		    "not there:%s; see mount.vastfs(8) for what that costs", missing);
	doctor_ok("round trip", "%.1f ms", sftp.rtt_us / 1000.0);
	judge_folder(doctor, &sftp);
}

/* False: it runs no commands, so that there is no more to find out. */
static bool check_shell(struct doctor *doctor)
{
	char out[512], shown[200];
	int err = probe_exec(&doctor->way, "true", out, sizeof(out));

	if (err == -ENOSYS) {
		doctor_note(
		    "login shell", "the server runs no commands for this user (SFTP alone)");
		return false;
	}
	if (err) {
		snprintf(
		    shown, sizeof(shown), "a command there gives no answer: %s", strerror(-err));
		doctor_fail(doctor, "login shell", shown,
		    "Does ~/.bashrc there wait for something, or is the instance overloaded? Try: "
		    "ssh HOST true");
		return false;
	}
	if (!out[0]) {
		doctor_ok("login shell", "prints nothing by itself");
		return true;
	}
	out[strcspn(out, "\r\n")] = '\0';
	snprintf(
	    shown, sizeof(shown), "it prints \"%.120s\", which SFTP can't tell from data", out);
	for (char *p = shown; *p; p++)
		*p = (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p;
	doctor_fail(doctor, "login shell", shown,
	    "On the instance: put what prints in ~/.bashrc behind the line: [[ $- == *i* ]] || "
	    "return");
	return true;
}

/* "df -Pk" of the folder to mount, then the time. */
static char *folder_command(const struct profile *profile)
{
	const char *named = named_folder(profile);
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	fputs("cd ", to);
	shquote(to, named ? named : "/workspace");
	fputs(" 2>/dev/null; LC_ALL=C df -Pk . | tail -n 1; date +%s", to);
	fclose(to);
	return text;
}

static void judge_space(struct doctor *doctor, const char *line)
{
	unsigned long long total, used, free_kib;
	const char *space = strchr(line, ' ');

	if (!space || sscanf(space, " %llu %llu %llu", &total, &used, &free_kib) != 3)
		doctor_note("disk space", "not known");
	else if (free_kib < LITTLE_SPACE_KIB)
		doctor_fail(doctor, "disk space", "less than 1 GiB is free on the instance",
		    "Remove something there; an instance's disk can't grow, a larger one has to be "
		    "rented");
	else
		doctor_ok("disk space", "%.1f of %.1f GiB are free", (double)free_kib / 1048576,
		    (double)total / 1048576);
}

static void judge_clock(const char *text, time_t before, time_t after)
{
	long long there = strtoll(text, NULL, 10), here = ((long long)before + after) / 2;

	if (there <= 0)
		doctor_note("clock", "not known");
	else if (llabs(there - here) > SKEW_SECONDS)
		doctor_note("clock",
		    "the instance is %lld s %s; make and rsync judge by times: set this machine's "
		    "clock (NTP), a container can't set its own",
		    llabs(there - here), there > here ? "ahead" : "behind");
	else
		doctor_ok(
		    "clock", "agrees within %lld s", llabs(there - here) + (after - before) / 2);
}

static void check_machine(struct doctor *doctor)
{
	char *command = folder_command(doctor->profile), out[1024], *line;
	time_t before = time(NULL);

	if (!command || probe_exec(&doctor->way, command, out, sizeof(out))) {
		doctor_note("disk space", "not known");
		free(command);
		return;
	}
	free(command);
	line = strchr(out, '\n');
	if (line)
		*line++ = '\0';
	judge_space(doctor, out);
	judge_clock(line ? line : "", before, time(NULL));
}

static void check_speed(struct doctor *doctor)
{
	uint64_t down = 0, up = 0;

	if (probe_speed(&doctor->way, &down, &up))
		doctor_note("bandwidth", "could not be measured");
	else
		doctor_ok("bandwidth",
		    "%.0f MB/s from the instance, %.0f MB/s to it, on one of %u connections",
		    (double)down / 1e6, (double)up / 1e6, doctor->profile->connections);
}

/* --- the whole ---------------------------------------------------------------------------- */

static void examine(struct doctor *doctor)
{
	if (doctor_address(doctor) && doctor_port(doctor) && connect_instance(doctor)) {
		check_sftp(doctor);
		if (check_shell(doctor)) {
			check_machine(doctor);
			check_speed(doctor);
		}
	}
	doctor_local(doctor);
}

static int run(struct profile *profile)
{
	struct doctor doctor = {.profile = profile};

	doctor.target = (struct ssh_target){.profile = profile,
	    .ask = ask_possible() ? ask_host_key : NULL,
	    .locator = locator_new(profile),
	    .connect_timeout = CONNECT_TIMEOUT};
	if (!doctor.target.locator || ssh_cancel_init(&doctor.cancel)) {
		locator_free(doctor.target.locator);
		return 1;
	}
	doctor.way.cancel = &doctor.cancel;
	examine(&doctor);
	ssh_close(doctor.way.connection);
	probe_ssh_end(doctor.way.process);
	ssh_cancel_fini(&doctor.cancel);
	locator_free(doctor.target.locator);
	if (doctor.failures)
		printf("%u %s found.\n", doctor.failures,
		    doctor.failures == 1 ? "problem was" : "problems were");
	else
		printf("All is well; mount it with: mount.vastfs %s FOLDER\n", profile->id);
	return doctor.failures != 0;
}

int cmd_doctor(int argc, char **argv)
{
	struct conf_error error = {.text = ""};
	struct doctor doctor = {0};
	struct profile *profile;
	int rc;

	if (command_profile(argc, argv, &profile, &error)) {
		if (!error.text[0])
			return command_usage("doctor");
		doctor_fail_text(&doctor, "profile", error.text);
		return 1;
	}
	if (ask_ssh_complete(profile)) {
		profile_free(profile);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	ssh_secret_source(ask_secret);
	askpass_use(ask_possible() ? ask_host_key : NULL);
	rc = run(profile);
	profile_free(profile);
	return rc;
}
