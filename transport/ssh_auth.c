/*
 * Authentication with public keys: the profile's files and the agent. The server counts each key
 * that it does not know (MaxAuthTries, 6), so what was asked for by name goes first and unusable
 * files are sorted out here.
 */
#include "conf/log.h"
#include "transport/ssh_hostkey.h"
#include "transport/ssh_internal.h"
#include "transport/ssh_keyfile.h"
#include "transport/ssh_secret.h"
#include "transport/ssh_sign.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How long a person may take to confirm the use of a key in the agent. */
#define AGENT_MS 60000

#define PASSPHRASE_TRIES 3

struct auth {
	struct ssh_connection *c;
	char methods[128];	   /* what the server would take */
	unsigned tried, rsa;	   /* keys that it refused, and how many of these are RSA */
	char refused[360];	   /* their names */
	char unusable[400];	   /* what is wrong with the files that were not tried */
	char beyond[300];	   /* keys that ssh(1) could use, and libssh2 can't */
	bool agent_empty;	   /* there is an agent, without keys */
	char why[PRIVKEY_WHY_MAX]; /* what is wrong with the file at hand, behind its name; or "" */
};

enum outcome { AUTH_IN, AUTH_REFUSED, AUTH_FAILED };

static void append(char *buf, size_t size, const char *separator, const char *text)
{
	size_t at = strlen(buf);

	snprintf(buf + at, size - at, "%s%s", at ? separator : "", text);
}

/* --- what is said when it fails ------------------------------------------------------ */

/* The banner on one line, for people. */
static const char *banner_line(const struct ssh_connection *c, char *buf, size_t size)
{
	char raw[SSH_BANNER_MAX];
	size_t len = 0;

	for (const char *at = c->banner; *at; at++) {
		bool blank = strchr(" \t\r\n", *at) != NULL;

		if (!blank)
			raw[len++] = *at;
		else if (len && raw[len - 1] != ' ')
			raw[len++] = ' ';
	}
	while (len && raw[len - 1] == ' ')
		len--;
	return log_printable(buf, size, raw, len);
}

static int fail_nothing(struct auth *auth, struct ssh_error *error)
{
	const struct ssh_connection *c = auth->c;

	if (auth->unusable[0])
		return ssh_fail(error, SSH_KEY_UNUSABLE, EACCES, "%s: no usable key: %s", c->where,
		    auth->unusable);
	return ssh_fail(error, SSH_NO_KEY, EACCES,
	    "%s: there is no key to log in with: no ~/.ssh/id_ed25519, id_ecdsa or id_rsa, and %s. "
	    "Make one with "
	    "`vastfs key new` and add its public half to the instance, or set `key` "
	    "in the "
	    "profile",
	    c->where, auth->agent_empty ? "the ssh-agent has no keys (ssh-add)" : "no ssh-agent");
}

static int fail_rsa(struct auth *auth, struct ssh_error *error)
{
	return ssh_fail(error, SSH_KEY_UNUSABLE, EACCES,
	    "%s: %s can't be used: libssh2 %s signs with RSA and SHA-1 only for servers that are "
	    "not "
	    "OpenSSH. Make an "
	    "ED25519 key with `vastfs key new FILE`, add its public half to the instance, "
	    "and try "
	    "again",
	    auth->c->where, auth->refused, libssh2_version(0));
}

static int fail_beyond(struct auth *auth, struct ssh_error *error)
{
	return ssh_fail(error, SSH_KEY_BEYOND, EACCES,
	    "%s: libssh2 %s can't use %s. Let ssh(1) log in with it: -o transport=ssh, or "
	    "transport = ssh in the profile.%s%s",
	    auth->c->where, libssh2_version(0), auth->beyond,
	    auth->tried ? " The server does not accept " : "", auth->refused);
}

static int fail_denied(struct auth *auth, struct ssh_error *error)
{
	struct ssh_connection *c = auth->c;
	char says[256];
	bool transient;

	/* On libssh2 1.10 the banner comes to light when the session is freed. */
	ssh_session_end(c);
	transient = strcasestr(c->banner, "try again") != NULL;
	if (c->banner[0])
		log_info("%s: the server says: %s", c->where, banner_line(c, says, sizeof(says)));
	if (auth->beyond[0])
		return fail_beyond(auth, error);
	if (!auth->tried)
		return fail_nothing(auth, error);
	if (SSH_LIBRARY_IS_OLD && auth->rsa == auth->tried)
		return fail_rsa(auth, error);
	return ssh_fail(error, transient ? SSH_DENIED_TRANSIENT : SSH_DENIED, EACCES,
	    "%s: Permission denied (%s): %s does not accept %s.%s%s%s Add the public key (the .pub "
	    "file) to "
	    "the instance: keys of the account reach new instances only, for this one use its own "
	    "SSH key "
	    "button or add it to ~/.ssh/authorized_keys there.%s%s",
	    c->where, auth->methods, c->target->profile->user, auth->refused,
	    transient ? " The server says: \"" : "",
	    transient ? banner_line(c, says, sizeof(says)) : "",
	    transient ? "\", so it may still be starting." : "",
	    auth->unusable[0] ? " Not tried: " : "", auth->unusable);
}

static int fail_broken(struct auth *auth, int err, struct ssh_error *error)
{
	/* sshd hangs up at the key that exceeds MaxAuthTries. */
	if (err == -ECONNRESET && auth->tried >= 3) {
		int result = fail_denied(auth, error);

		append(error->text, sizeof(error->text), " ",
		    "The server hung up after too many keys: name the right one as `key` in the "
		    "profile.");
		return result;
	}
	return ssh_fail_wait(auth->c, err, "during authentication", error);
}

/* --- one key ------------------------------------------------------------------------- */

/* What a finished attempt came to; *err is set for AUTH_FAILED. */
static enum outcome judge(struct auth *auth, int rc, int *err)
{
	struct ssh_connection *c = auth->c;

	if (!rc)
		return AUTH_IN;
	if (!c->err && !c->eof && !c->said_bye && rc != LIBSSH2_ERROR_ALLOC &&
	    rc != LIBSSH2_ERROR_SOCKET_DISCONNECT && rc != LIBSSH2_ERROR_SOCKET_RECV &&
	    rc != LIBSSH2_ERROR_SOCKET_SEND)
		return AUTH_REFUSED;
	*err = c->err ? -c->err : rc == LIBSSH2_ERROR_ALLOC ? -ENOMEM : -ECONNRESET;
	return AUTH_FAILED;
}

static void note_refused(struct auth *auth, const char *what, bool rsa)
{
	auth->tried++;
	auth->rsa += rsa;
	append(auth->refused, sizeof(auth->refused), ", ", what);
	log_verbose("%s: the server does not accept %s", auth->c->where, what);
}

/* libssh2's attempt with the file. Its error, or 0; *err is set when the wait for it failed. */
static int try_library(struct auth *auth, const char *path, const char *secret, int *err)
{
	struct ssh_connection *c = auth->c;
	const char *user = c->target->profile->user;
	uint64_t deadline = ssh_step(c, 0);
	int rc;

	*err = 0;
	while (!*err && (rc = libssh2_userauth_publickey_fromfile_ex(c->session, user,
			     (unsigned)strlen(user), NULL, path, secret)) == LIBSSH2_ERROR_EAGAIN)
		*err = ssh_wait(c, deadline);
	return rc;
}

/* Is it one that libssh2 can't do, or only in an outdated way? */
static bool wants_own(const struct auth *auth, const struct keyfile *key)
{
	/* of a PEM key nothing is known before it is opened */
	return key->putty || (SSH_LIBRARY_IS_OLD && (key->rsa || !key->word[0]) &&
				 ssh_sign_suits(auth->c, "ssh-rsa"));
}

/* As try_library; a wrong passphrase is LIBSSH2_ERROR_FILE, as there. */
static int try_secret(
    struct auth *auth, const char *path, const struct keyfile *key, const char *secret, int *err)
{
	struct privkey *own = NULL;
	int rc = LIBSSH2_ERROR_FILE, result;

	*err = 0;
	auth->why[0] = '\0';
	if (!wants_own(auth, key))
		return try_library(auth, path, secret, err);
	result = privkey_load(path, secret, &own, auth->why);
	if (!result && (key->putty || !strcmp(own->type, "ssh-rsa")))
		rc = ssh_sign_suits(auth->c, own->type) ? ssh_sign_with_key(auth->c, own, err)
							: LIBSSH2_ERROR_METHOD_NOT_SUPPORTED;
	else if (!key->putty && result != -EKEYREJECTED && result != -ENOKEY)
		rc = try_library(auth, path, secret, err);
	privkey_free(own);
	return rc;
}

/* The forwards' sessions leave questions to the others. */
static bool may_ask(const struct auth *auth)
{
	const char *window = getenv("SSH_ASKPASS");

	return auth->c->target->ask || (window && *window);
}

/* The same with its passphrase, which a person may get wrong. */
static int try_encrypted(struct auth *auth, const char *path, const struct keyfile *key, int *err)
{
	char secret[SSH_SECRET_MAX];
	int rc = LIBSSH2_ERROR_FILE;

	*err = 0;
	for (int i = 0; i < PASSPHRASE_TRIES && !*err && rc == LIBSSH2_ERROR_FILE; i++) {
		if (!ssh_secret_get(path, may_ask(auth), i > 0, secret))
			break;
		rc = try_secret(auth, path, key, secret, err);
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	return rc;
}

static enum outcome try_file(
    struct auth *auth, const char *path, bool asked_for, bool encrypted, int *err)
{
	struct ssh_connection *c = auth->c;
	struct keyfile key;
	enum outcome outcome;
	char what[256], *why = NULL;
	int rc;

	ssh_keyfile_look(path, &key);
	ssh_keyfile_advice(path, &key, what, sizeof(what));
	/* Those that are encrypted have a round of their own, after the agent. */
	if (encrypted != (key.state == KEYFILE_ENCRYPTED))
		return AUTH_REFUSED;
	if (key.state != KEYFILE_USABLE && !encrypted) {
		log_verbose("%s: not tried: %s", c->where, what);
		if (key.state == KEYFILE_TOKEN)
			append(auth->beyond, sizeof(auth->beyond), ", ", what);
		else if (key.state != KEYFILE_MISSING || asked_for)
			append(auth->unusable, sizeof(auth->unusable), "; ", what);
		return AUTH_REFUSED;
	}
	snprintf(what, sizeof(what), "%.150s%s%s%s%s", path, key.word[0] ? " (" : "", key.word,
	    key.word[0] && key.fingerprint[0] ? " " : "", key.fingerprint);
	if (key.word[0])
		append(what, sizeof(what), "", ")");
	log_verbose("%s: trying key %s", c->where, what);
	auth->why[0] = '\0';
	rc = encrypted ? try_encrypted(auth, path, &key, err)
		       : try_secret(auth, path, &key, NULL, err);
	if (*err)
		return AUTH_FAILED;
	outcome = judge(auth, rc, err);
	if (outcome != AUTH_REFUSED)
		return outcome;
	libssh2_session_last_error(c->session, &why, NULL, 0);
	log_verbose("%s: %s: %d %s", c->where, path, rc, why ? why : "");
	if (rc == LIBSSH2_ERROR_FILE) {
		if (auth->why[0])
			snprintf(what, sizeof(what), "%.100s %.150s", path, auth->why);
		else if (encrypted)
			ssh_keyfile_advice(path, &key, what, sizeof(what));
		else
			snprintf(what, sizeof(what), "%.150s can't be understood by libssh2 %s",
			    path, libssh2_version(0));
		append(auth->unusable, sizeof(auth->unusable), "; ", what);
		return AUTH_REFUSED;
	}
	note_refused(auth, what, key.rsa && !ssh_sign_suits(c, "ssh-rsa"));
	return AUTH_REFUSED;
}

static enum outcome try_files(struct auth *auth, bool encrypted, int *err)
{
	const struct profile *profile = auth->c->target->profile;

	for (size_t i = 0; i < profile->n_keys; i++) {
		enum outcome outcome =
		    try_file(auth, profile->keys[i], profile->keys_given, encrypted, err);

		if (outcome != AUTH_REFUSED)
			return outcome;
	}
	return AUTH_REFUSED;
}

/* --- the agent ------------------------------------------------------------------------ */

/*
 * A security key's signature has more than bytes behind its algorithm (PROTOCOL.u2f), which libssh2
 * leaves out of what the agent says, and a person would touch the key for nothing. A certificate's
 * has another algorithm than the key, which libssh2 knows since 1.11.
 */
static bool is_beyond(const char *type)
{
	return !strncmp(type, "sk-", 3) || (SSH_LIBRARY_IS_OLD && strstr(type, "-cert-v0"));
}

/* As ssh_sign_with_agent. */
static int ask_agent(struct auth *auth, LIBSSH2_AGENT *agent,
    struct libssh2_agent_publickey *identity, const char *type, int *err)
{
	struct ssh_connection *c = auth->c;
	uint64_t deadline = ssh_step(c, AGENT_MS);
	int rc;

	*err = 0;
	c->deadline = ssh_now() + AGENT_MS;
	if (SSH_LIBRARY_IS_OLD && !strcmp(type, "ssh-rsa") && ssh_sign_suits(c, type))
		return ssh_sign_with_agent(c, identity->blob, identity->blob_len, deadline, err);
	while (!*err && (rc = libssh2_agent_userauth(agent, c->target->profile->user, identity)) ==
			    LIBSSH2_ERROR_EAGAIN)
		*err = ssh_wait(c, deadline);
	return rc;
}

static enum outcome try_identity(
    struct auth *auth, LIBSSH2_AGENT *agent, struct libssh2_agent_publickey *identity, int *err)
{
	struct ssh_connection *c = auth->c;
	char type[64], fingerprint[80], comment[96], what[256];
	enum outcome outcome;
	int rc;

	ssh_key_type(identity->blob, identity->blob_len, type, sizeof(type));
	ssh_hostkey_fingerprint(
	    identity->blob, identity->blob_len, fingerprint, sizeof(fingerprint));
	log_printable(comment, sizeof(comment), identity->comment ? identity->comment : "",
	    identity->comment ? strlen(identity->comment) : 0);
	snprintf(what, sizeof(what), "the agent's key %s (%s %s)", comment, ssh_key_type_word(type),
	    fingerprint);
	if (is_beyond(type)) {
		log_verbose("%s: not tried, as libssh2 can't: %s", c->where, what);
		append(auth->beyond, sizeof(auth->beyond), ", ", what);
		return AUTH_REFUSED;
	}
	log_verbose("%s: trying %s", c->where, what);
	rc = ask_agent(auth, agent, identity, type, err);
	if (*err)
		return AUTH_FAILED;
	outcome = judge(auth, rc, err);
	if (outcome == AUTH_REFUSED)
		note_refused(auth, what, !strcmp(type, "ssh-rsa") && !ssh_sign_suits(c, type));
	return outcome;
}

static enum outcome try_identities(struct auth *auth, LIBSSH2_AGENT *agent, int *err)
{
	struct ssh_connection *c = auth->c;
	struct libssh2_agent_publickey *identity = NULL;

	c->deadline = ssh_now() + AGENT_MS;
	if (libssh2_agent_connect(agent)) {
		log_verbose("%s: the ssh-agent ($SSH_AUTH_SOCK) does not answer", c->where);
		return AUTH_REFUSED;
	}
	if (libssh2_agent_list_identities(agent)) {
		log_verbose("%s: the ssh-agent does not list its keys", c->where);
		return AUTH_REFUSED;
	}
	auth->agent_empty = true;
	while (!libssh2_agent_get_identity(agent, &identity, identity)) {
		enum outcome outcome = try_identity(auth, agent, identity, err);

		auth->agent_empty = false;
		if (outcome != AUTH_REFUSED)
			return outcome;
	}
	return AUTH_REFUSED;
}

static enum outcome try_agent(struct auth *auth, int *err)
{
	const char *path = getenv("SSH_AUTH_SOCK");
	enum outcome outcome;
	LIBSSH2_AGENT *agent;

	if (!path || !*path)
		return AUTH_REFUSED;
	agent = libssh2_agent_init(auth->c->session);
	if (!agent) {
		*err = -ENOMEM;
		return AUTH_FAILED;
	}
	outcome = try_identities(auth, agent, err);
	libssh2_agent_disconnect(agent);
	libssh2_agent_free(agent);
	return outcome;
}

/* --- all of it ------------------------------------------------------------------------ */

/* 1.11 hands the banner out; ssh_io.c sees it with 1.10. */
static void fetch_banner(struct ssh_connection *c)
{
#if LIBSSH2_VERSION_NUM >= 0x010b00
	char *banner = NULL;

	if (!c->banner[0] && !libssh2_userauth_banner(c->session, &banner) && banner)
		snprintf(c->banner, sizeof(c->banner), "%s", banner);
#endif
}

/* Asks what the server would take. AUTH_IN when it takes us without a key. */
static enum outcome ask_methods(struct auth *auth, int *err)
{
	struct ssh_connection *c = auth->c;
	const char *user = c->target->profile->user;
	uint64_t deadline = ssh_step(c, 0);
	char *list;

	while (!(list = libssh2_userauth_list(c->session, user, (unsigned)strlen(user)))) {
		int rc = libssh2_session_last_errno(c->session);

		if (libssh2_userauth_authenticated(c->session))
			return AUTH_IN;
		if (rc != LIBSSH2_ERROR_EAGAIN) {
			*err = c->err ? -c->err : -ECONNRESET;
			return AUTH_FAILED;
		}
		*err = ssh_wait(c, deadline);
		if (*err)
			return AUTH_FAILED;
	}
	fetch_banner(c);
	log_printable(auth->methods, sizeof(auth->methods), list, strlen(list));
	log_verbose("%s: the server takes: %s", c->where, auth->methods);
	return AUTH_REFUSED;
}

int ssh_authenticate(struct ssh_connection *c, struct ssh_error *error)
{
	struct auth auth = {.c = c};
	int err = -ECONNRESET;
	enum outcome outcome = ask_methods(&auth, &err);

	if (outcome == AUTH_REFUSED && !strstr(auth.methods, "publickey"))
		return ssh_fail(error, SSH_DENIED, EACCES,
		    "%s: the server takes no keys for %s, only: %s. Allow PubkeyAuthentication in "
		    "its "
		    "sshd_config",
		    c->where, c->target->profile->user, auth.methods);
	if (outcome == AUTH_REFUSED)
		outcome = c->target->profile->keys_given ? try_files(&auth, false, &err)
							 : try_agent(&auth, &err);
	if (outcome == AUTH_REFUSED)
		outcome = c->target->profile->keys_given ? try_agent(&auth, &err)
							 : try_files(&auth, false, &err);
	if (outcome == AUTH_REFUSED)
		outcome = try_files(&auth, true, &err);
	if (outcome == AUTH_REFUSED)
		return fail_denied(&auth, error);
	if (outcome == AUTH_FAILED)
		return fail_broken(&auth, err, error);
	log_info("%s: authenticated as %s (%s)", c->where, c->target->profile->user, c->address);
	return 0;
}
