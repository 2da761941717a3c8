#include "transport/ssh_secret.h"
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SECRETS_MAX 16

static struct secret {
	char file[512];
	char text[SSH_SECRET_MAX];
} secrets[SECRETS_MAX];
static size_t n_secrets;
static ssh_secret_ask *source;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void ssh_secret_source(ssh_secret_ask *ask)
{
	pthread_mutex_lock(&lock);
	source = ask;
	pthread_mutex_unlock(&lock);
}

static struct secret *find(const char *file)
{
	for (size_t i = 0; i < n_secrets; i++) {
		if (!strcmp(secrets[i].file, file))
			return &secrets[i];
	}
	return NULL;
}

static void forget(struct secret *secret)
{
	OPENSSL_cleanse(secret->text, sizeof(secret->text));
	*secret = secrets[--n_secrets];
	OPENSSL_cleanse(&secrets[n_secrets], sizeof(secrets[0]));
}

static bool ask(const char *file, char *buf)
{
	char prompt[600];

	snprintf(prompt, sizeof(prompt), "Enter passphrase for key '%.500s': ", file);
	if (!source || !source(prompt, buf, SSH_SECRET_MAX))
		return false;
	if (n_secrets == SECRETS_MAX || strlen(file) >= sizeof(secrets[0].file))
		return true;
	/* It works without, where the limit is 0. */
	(void)mlock(secrets, sizeof(secrets));
	strcpy(secrets[n_secrets].file, file);
	strcpy(secrets[n_secrets++].text, buf);
	return true;
}

bool ssh_secret_get(const char *file, bool may_ask, bool wrong, char *buf)
{
	struct secret *kept;
	bool found;

	pthread_mutex_lock(&lock);
	kept = find(file);
	if (kept && wrong) {
		forget(kept);
		kept = NULL;
	}
	found = kept != NULL;
	if (kept)
		strcpy(buf, kept->text);
	else if (may_ask)
		found = ask(file, buf);
	pthread_mutex_unlock(&lock);
	return found;
}

bool ssh_secret_once(const char *prompt, char *buf)
{
	bool found;

	pthread_mutex_lock(&lock);
	found = source && source(prompt, buf, SSH_SECRET_MAX);
	pthread_mutex_unlock(&lock);
	return found;
}
