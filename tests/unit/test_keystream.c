/* The key stream in front of OpenSSL gives what OpenSSL gives, whatever the pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/ssh_keystream.h"
#include <cmocka.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 50000

static const unsigned char key[32] = "0123456789abcdef0123456789abcde";
static const unsigned char iv[16] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0};

/* As libssh2 does it: EVP_Cipher, a piece at a time, in place. */
static void in_pieces(
    const EVP_CIPHER *cipher, uint8_t *data, const size_t *pieces, size_t n_pieces)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t at = 0, i = 0;

	assert_int_equal(EVP_EncryptInit_ex(ctx, cipher, NULL, key, iv), 1);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	while (at < SIZE) {
		size_t len = pieces[i++ % n_pieces];
		uint8_t out[SIZE];

		if (len > SIZE - at)
			len = SIZE - at;
		assert_int_not_equal(EVP_Cipher(ctx, out, data + at, (unsigned)len), -1);
		memcpy(data + at, out, len);
		at += len;
	}
	EVP_CIPHER_CTX_free(ctx);
}

/* By a function of OpenSSL's that nothing stands in front of. */
static void at_once(const EVP_CIPHER *cipher, uint8_t *data)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t *out = malloc(SIZE + 64);
	int len = 0;

	assert_non_null(out);
	assert_int_equal(EVP_EncryptInit_ex(ctx, cipher, NULL, key, iv), 1);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	assert_int_equal(EVP_EncryptUpdate(ctx, out, &len, data, SIZE), 1);
	assert_int_equal(len, SIZE);
	memcpy(data, out, SIZE);
	free(out);
	EVP_CIPHER_CTX_free(ctx);
}

static void check(const EVP_CIPHER *cipher, const size_t *pieces, size_t n_pieces)
{
	uint8_t *ours = malloc(SIZE), *theirs = malloc(SIZE);

	assert_non_null(ours);
	assert_non_null(theirs);
	for (int i = 0; i < SIZE; i++)
		ours[i] = theirs[i] = (uint8_t)(i * 7 + i / 251);
	in_pieces(cipher, ours, pieces, n_pieces);
	at_once(cipher, theirs);
	assert_memory_equal(ours, theirs, SIZE);
	free(ours);
	free(theirs);
}

static void test_ctr(void **state)
{
	static const size_t blocks[] = {16}, mixed[] = {16, 4096, 1, 17, 5000, 4095, 32};

	(void)state;
	assert_true(ssh_keystream_ready());
	check(EVP_aes_128_ctr(), blocks, 1);
	check(EVP_aes_192_ctr(), blocks, 1);
	check(EVP_aes_256_ctr(), mixed, 7);
}

static void test_others_pass_through(void **state)
{
	static const size_t blocks[] = {16, 80, 16};

	(void)state;
	check(EVP_aes_128_cbc(), blocks, 3);
}

/* A context at the address of a freed one, with another key, has a stream of its own. */
static void test_contexts_do_not_mix(void **state)
{
	static const size_t blocks[] = {16};

	(void)state;
	for (int i = 0; i < 20; i++)
		check(i & 1 ? EVP_aes_128_ctr() : EVP_aes_256_ctr(), blocks, 1);
}

/* --- the end of the process --- */

#define TURNS 200

static atomic_uint turns; /* of the thread that outlives main */

static void *worker_main(void *arg)
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	for (;;) {
		unsigned len = sizeof(digest);
		EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);

		if (!md || !EVP_Digest("x", 1, digest, &len, md, NULL))
			_exit(3);
		EVP_MD_free(md);
		atomic_fetch_add(&turns, 1);
	}
	return arg;
}

static void wait_for_turns(unsigned more)
{
	unsigned from = atomic_load(&turns);

	while (atomic_load(&turns) - from < more)
		usleep(1000); /* sleep: until the thread has come that far */
}

/* The first to be registered is the last to run. */
static void worker_goes_on(void)
{
	wait_for_turns(TURNS);
	_exit(0);
}

static void test_exit_beside_a_thread(void **state)
{
	pthread_t thread;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		if (atexit(worker_goes_on) || pthread_create(&thread, NULL, worker_main, NULL))
			_exit(2);
		wait_for_turns(TURNS);
		exit(1);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_exit_beside_a_thread), /* first: OpenSSL was not used before */
	    cmocka_unit_test(test_ctr),
	    cmocka_unit_test(test_others_pass_through),
	    cmocka_unit_test(test_contexts_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
