/* Private key files of each format, as an enemy would write them: with a passphrase where opening
 * one is cheap, else without. */
#include "transport/privkey.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The number behind the word, 0 without it. */
static unsigned long number(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	return at ? strtoul(at + strlen(word), NULL, 10) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), why[PRIVKEY_WHY_MAX];
	struct privkey *key;
	bool cheap;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	cheap = !strncmp(text, "PuTTY", 5) && !strstr(text, "-----BEGIN") &&
		number(text, "Argon2-Memory: ") <= 1024 && number(text, "Argon2-Passes: ") <= 2 &&
		number(text, "Argon2-Parallelism: ") <= 2;
	if (!privkey_parse(text, size, cheap ? "geheim wort" : NULL, &key, why)) {
		uint8_t *sig;
		size_t len;

		if (!privkey_sign(key, key->type, data, size, &sig, &len))
			free(sig);
		privkey_free(key);
	} else if (key || !why[0]) {
		abort();
	}
	free(text);
	return 0;
}
