/* Which private key files a profile ends up with. */
#include "conf/keyfile.h"
#include "conf/log.h"
#include "conf/paths.h"
#include "conf/profile_impl.h"
#include <errno.h>
#include <stdlib.h>

/* Each of the keys needs a passphrase that nobody can give. */
static int check_secrets(const struct draft *draft, struct conf_error *error)
{
	const struct profile *p = draft->profile;

	/* ssh(1) may have other ways to log in then */
	if (p->n_ssh_options || p->needs_ssh || keyfile_agent_present())
		return 0;
	for (size_t i = 0; i < p->n_keys; i++) {
		if (!keyfile_needs_secret(p->keys[i]))
			return 0;
	}
	return conf_fail(error, EACCES,
	    "%s: key %s is protected by a passphrase, and there is no terminal and no $SSH_ASKPASS "
	    "to ask for it; add it to ssh-agent: eval $(ssh-agent); ssh-add %s",
	    draft->key_from[0], p->keys[0], p->keys[0]);
}

int draft_check_keys(struct draft *draft, bool unattended, struct conf_error *error)
{
	struct profile *p = draft->profile;
	size_t kept = 0;

	for (size_t i = 0; i < p->n_keys; i++) {
		enum keyfile_state state = keyfile_inspect(p->keys[i]);

		/* A passphrase is asked for, by the agent or us; a security key is ssh's. */
		if (state != KEYFILE_USABLE && state != KEYFILE_ENCRYPTED &&
		    state != KEYFILE_HARDWARE && state != KEYFILE_PUTTY) {
			int rc = keyfile_explain(state, p->keys[i], draft->key_from[i], error);

			/* The rest stays owned by the draft: close the gap of what was freed. */
			while (i < p->n_keys) {
				p->keys[kept] = p->keys[i];
				draft->key_from[kept++] = draft->key_from[i++];
			}
			p->n_keys = kept;
			return rc;
		}
		p->putty_keys |= state == KEYFILE_PUTTY;
		p->keys[kept] = p->keys[i];
		draft->key_from[kept++] = draft->key_from[i];
	}
	p->n_keys = kept;
	return unattended ? check_secrets(draft, error) : 0;
}

int draft_add_default_keys(struct draft *draft, struct conf_error *error)
{
	static const char *const names[] = {"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa",
	    "~/.ssh/id_ed25519_sk", "~/.ssh/id_ecdsa_sk"};
	const struct origin origin = {"default key", NULL};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char *path = paths_expand(names[i]);
		enum keyfile_state state = path ? keyfile_inspect(path) : KEYFILE_MISSING;
		struct conf_error why = {""};
		int rc = 0;

		draft->profile->putty_keys |= state == KEYFILE_PUTTY;
		if (state == KEYFILE_USABLE || state == KEYFILE_ENCRYPTED ||
		    state == KEYFILE_HARDWARE || state == KEYFILE_PUTTY) {
			rc = profile_key_set(draft, profile_key_find("key"), path, &origin, error);
		} else if (state != KEYFILE_MISSING) {
			keyfile_explain(state, path, "default key passed over", &why);
			log_warning("%s", why.text);
		}
		free(path);
		if (rc)
			return rc;
	}
	draft->profile->keys_given = false;
	return 0;
}
