/*
 * What ssh says. Lines that begin with "debug1: " tell facts; all others are for people: the
 * server's banner, and at last why ssh gives up. Those are matched against the failures that we
 * have kinds and advice for; what is not recognised is shown as it is.
 */
#include "conf/log.h"
#include "transport/ssh_hostkey.h"
#include "transport/sshproc.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* --- the failures that are known, the plainer ones first ----------------------------------- */

#define CONFIG_ADVICE                                                                              \
	"ssh does not like its configuration. Mend what it names, in ~/.ssh/config or ssh_option"

static const struct {
	const char *words;
	enum ssh_failure kind;
	int err;
	const char *advice; /* before what ssh said; NULL: see fail_host_key */
} failures[] = {
    {"REMOTE HOST IDENTIFICATION HAS CHANGED", SSH_HOST_KEY_CHANGED, EACCES, NULL},
    {"REVOKED HOST KEY", SSH_HOST_KEY_CHANGED, EACCES,
	"the server's host key is marked as revoked"},
    {"you have requested strict checking", SSH_HOST_KEY_UNKNOWN, EACCES, NULL},
    {"Host key verification failed", SSH_HOST_KEY_UNKNOWN, EACCES,
	"the host key was not accepted, so nothing was sent"},
    {"Could not resolve hostname", SSH_UNRESOLVED, ENOENT,
	"there is no such host. Check `host` in the profile"},
    {"Bad configuration option", SSH_CONFIG, EINVAL, CONFIG_ADVICE},
    {"Bad owner or permissions on", SSH_CONFIG, EINVAL, CONFIG_ADVICE},
    {"terminating, ", SSH_CONFIG, EINVAL, CONFIG_ADVICE},
    {"Unable to negotiate with", SSH_NO_ALGORITHM, EPROTO,
	"ssh and the server have no algorithm in common. Update the server there, or allow what it "
	"offers: ssh_option = Ciphers=+NAME (or KexAlgorithms, HostKeyAlgorithms, MACs)"},
    {"Exceeded MaxStartups", SSH_NOT_SSH, ECONNRESET,
	"the server turns connections away; it has too many"},
    {"Not allowed at this time", SSH_NOT_SSH, ECONNRESET,
	"the server turns connections away for a while"},
    {"subsystem request failed", SSH_NO_SFTP, EPROTO,
	"the server has no SFTP: it refuses the subsystem. Add the line \"Subsystem sftp "
	"internal-sftp\" to /etc/ssh/sshd_config on the instance and restart sshd"},
    {"Connection refused", SSH_REFUSED, ECONNREFUSED,
	"connection refused: nothing listens on that port. Check the port (the provider's console "
	"shows ssh -p PORT root@HOST; it changes when the instance is moved), and that the "
	"instance is running: its sshd needs up to 90 seconds after the start"},
    {"timed out during banner exchange", SSH_TIMEOUT, ETIMEDOUT,
	"the port is open, but nothing was said within the time. Is it the SSH port?"},
    {"Connection timed out", SSH_UNREACHABLE, ETIMEDOUT,
	"no answer to the connection. Check the address and port, that the instance is running, "
	"and that no firewall on the way drops the packets"},
    {"No route to host", SSH_UNREACHABLE, EHOSTUNREACH,
	"can't reach the host. Check the address and this machine's network"},
    {"Network is unreachable", SSH_UNREACHABLE, ENETUNREACH,
	"can't reach the host. Check the address and this machine's network"},
    {"not responding", SSH_TIMEOUT, ETIMEDOUT, "the link is dead: the server does not answer"},
    {"invalid format", SSH_NOT_SSH, EPROTO,
	"no SSH server answers there. Check the port: the provider's console shows the one for "
	"SSH (ssh -p PORT root@HOST)"},
    {"kex_exchange_identification", SSH_NOT_SSH, ECONNRESET,
	"the connection was closed before a word was said. Either this is not the SSH port, or the "
	"instance is still starting, or its sshd turns connections away"},
    {"bad permissions", SSH_KEY_UNUSABLE, EACCES, "the key file can be read by others"},
};

/* --- listening --------------------------------------------------------------------------- */

/* The words between before and the next of the ends, into buf; false when before is not there. */
static bool take_word(
    const char *line, const char *before, const char *ends, char *buf, size_t size)
{
	const char *at = strstr(line, before);

	if (!at)
		return false;
	at += strlen(before);
	log_printable(buf, size, at, strcspn(at, ends));
	return true;
}

/* "FILE TYPE SHA256:… explicit": the last word tells nobody anything. */
static void trim_key(char *key)
{
	size_t len = strlen(key);

	if (len > 9 && !strcmp(key + len - 9, " explicit"))
		key[len - 9] = '\0';
}

static void note_offered(struct sshsays *says, const char *key)
{
	size_t len = strlen(key), at = strlen(says->offered);

	if (at + len + 3 < sizeof(says->offered))
		snprintf(
		    says->offered + at, sizeof(says->offered) - at, "%s%s", at ? ", " : "", key);
}

static void note_fact(struct sshsays *says, const char *line)
{
	char word[160];

	if (take_word(line, "remote software version ", "\r\n", word, sizeof(word)))
		snprintf(says->peer, sizeof(says->peer), "SSH-2.0-%.70s", word);
	else if (take_word(line, "kex: server->client cipher: ", " ", word, sizeof(word)))
		snprintf(says->cipher, sizeof(says->cipher), "%.47s", word);
	else if (take_word(line, "Server host key: ", " ", says->host_key_type,
		     sizeof(says->host_key_type)) &&
		 take_word(line + 17, " ", " ", word, sizeof(word)))
		snprintf(says->host_key, sizeof(says->host_key), "%.79s", word);
	else if (take_word(line, "Offering public key: ", "\r\n", word, sizeof(word))) {
		trim_key(word);
		note_offered(says, word);
	} else if (take_word(line, "Server accepts key: ", "\r\n", says->accepted,
		       sizeof(says->accepted))) {
		trim_key(says->accepted);
	}
}

/* Keeps what is recognised, the plainest; what is said on the way to a login that succeeds is
 * forgotten with it. */
static void note_failure(struct sshsays *says, const char *line)
{
	if (strstr(line, "Permission denied (") || strstr(line, "Too many authentication failures"))
		says->denied = true;
	if (strcasestr(line, "try again after") || strcasestr(line, "try again in"))
		says->transient = true;
	for (unsigned i = 0; i < sizeof(failures) / sizeof(*failures); i++) {
		if (strstr(line, failures[i].words) && (!says->failure || i + 1 < says->failure))
			says->failure = i + 1;
	}
}

/* Keeps the end of what was said: the reason comes last. */
static void note_text(struct sshsays *says, const char *line)
{
	size_t have = strlen(says->text), len = strlen(line), room = sizeof(says->text) - 1;

	if (len > room / 2)
		len = room / 2;
	if (have + len + 2 > room) {
		size_t drop = have + len + 2 - room;

		memmove(says->text, says->text + drop, have - drop + 1);
		have -= drop;
	}
	snprintf(says->text + have, sizeof(says->text) - have, "%s%.*s", have ? "; " : "", (int)len,
	    line);
}

static void hear_line(struct sshproc *process, const char *line, size_t len)
{
	struct sshsays *says = &process->says;
	const char *where = process->view.where;
	char shown[sizeof(says->line)];

	log_printable(shown, sizeof(shown), line, len);
	if (!strncmp(shown, "debug1: ", 8)) {
		log_verbose("%s: ssh: %s", where, shown + 8);
		note_fact(says, shown + 8);
		return;
	}
	note_failure(says, shown);
	/* "channel 3: open failed: connect failed: Connection refused" */
	if (take_word(
		shown, ": open failed: ", "\r\n", says->open_failed, sizeof(says->open_failed))) {
		log_verbose("%s: ssh says: %s", where, shown);
		return;
	}
	/* The frame around what is shouted. */
	if (!shown[0] || shown[0] == '@')
		return;
	if (!strncmp(shown, "Authenticated to ", 17)) {
		/* What was said until here was the way to it, and explains no later failure. */
		says->authenticated = true;
		says->text[0] = '\0';
		says->denied = says->transient = false;
		says->failure = 0;
	} else if (strncmp(shown, "Warning: Permanently added ", 27)) {
		note_text(says, shown);
	} else {
		log_warning("%s", shown + 9);
		return;
	}
	log_verbose("%s: ssh says: %s", where, shown);
}

void sshsays_read(struct sshproc *process)
{
	struct sshsays *says = &process->says;
	char bytes[4096];
	ssize_t n;

	while ((n = read(process->said_fd, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (bytes[i] != '\n' && bytes[i] != '\r') {
				/* The rest of a line that is too long is left out. */
				if (says->line_len < sizeof(says->line) - 1)
					says->line[says->line_len++] = bytes[i];
				continue;
			}
			hear_line(process, says->line, says->line_len);
			says->line_len = 0;
		}
	}
}

/* --- understanding ----------------------------------------------------------------------- */

static void fail_denied(const struct sshproc *process, struct ssh_error *error)
{
	const struct sshsays *says = &process->says;

	if (!says->offered[0]) {
		ssh_fail(error, SSH_NO_KEY, EACCES,
		    "%s: Permission denied: ssh found no key that it could use. Make one with "
		    "`vastfs key new` and add its public half to the instance, or set `key` "
		    "in the profile. ssh says: %s",
		    process->view.where, says->text);
		return;
	}
	if (strstr(says->text, "signing failed for")) {
		ssh_fail(error, SSH_DENIED, EACCES,
		    "%s: Permission denied: the server asks for a signature, and there was none. A "
		    "security key has to be plugged in, and touched when it blinks; one in the "
		    "agent may need its PIN (ssh-add). ssh says: %.500s",
		    process->view.where, says->text);
		return;
	}
	ssh_fail(error, says->transient ? SSH_DENIED_TRANSIENT : SSH_DENIED, EACCES,
	    "%s: Permission denied: %s does not accept %s.%s Add the public key (the .pub file) to "
	    "the instance: keys of the account reach new instances only, for this one use its own "
	    "SSH key button or add it to ~/.ssh/authorized_keys there.%s ssh says: %.400s",
	    process->view.where, process->view.target.profile->user, says->offered,
	    says->transient ? " It may still be starting." : "",
	    process->view.target.ask
		? ""
		: " One with a passphrase needs a terminal, $SSH_ASKPASS or the agent (ssh-add).",
	    says->text);
}

static void fail_host_key(
    const struct sshproc *process, enum ssh_failure kind, struct ssh_error *error)
{
	const struct profile *profile = process->view.target.profile;
	const struct sshsays *says = &process->says;
	const char *type = ssh_key_type_word(says->host_key_type);
	char name[320];

	if (kind == SSH_HOST_KEY_UNKNOWN) {
		ssh_fail(error, kind, EACCES,
		    "%s: the %s host key %s is not in %s. Connect once from a terminal to be "
		    "asked, or with -o host_key=accept-new, or add the key to that file. ssh says: "
		    "%.300s",
		    process->view.where, type, says->host_key, profile->known_hosts, says->text);
		return;
	}
	ssh_hostkey_address(profile, name, sizeof(name));
	if (sshproc_is_pinned(profile))
		ssh_hostkey_alias(profile, name, sizeof(name));
	ssh_fail(error, kind, EACCES,
	    "%s: REMOTE HOST IDENTIFICATION HAS CHANGED: the %s host key is now %s, another one "
	    "than in %s. The instance was rebuilt, the address is another instance's by now, or "
	    "somebody intercepts the connection. If you are sure, remove the old key with: "
	    "ssh-keygen -R '%s' -f '%s'",
	    process->view.where, type, says->host_key, profile->known_hosts, name,
	    profile->known_hosts);
}

void sshsays_error(const struct sshproc *process, struct ssh_error *error)
{
	const struct sshsays *says = &process->says;
	const char *where = process->view.where;
	unsigned i = says->failure - 1;

	if (says->denied)
		fail_denied(process, error);
	else if (!says->failure)
		ssh_fail(error, SSH_LOST, ECONNRESET, "%s: the connection broke%s%.700s", where,
		    says->text[0] ? ": " : "", says->text);
	else if (!failures[i].advice)
		fail_host_key(process, failures[i].kind, error);
	else
		ssh_fail(error, failures[i].kind, failures[i].err, "%s: %s. ssh says: %.500s",
		    where, failures[i].advice, says->text);
}
