/*
 * What is not ours to mend: libssh2 1.10 leaks 51 bytes at each key exchange (through the allocator
 * that we give it) and a number for each ECDSA key that it reads. The second shows its caller only
 * in a full stack, so test_connect.c asks for those.
 */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:ssh_mem_alloc\n"
	       "leak:libssh2_userauth_publickey_fromfile_ex\n";
}
