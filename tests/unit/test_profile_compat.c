/* The options of sshfs and ssh that people have in their fstab. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "profile_fixture.h"

/* A line of sshfs's own manual page and of many wikis. */
static void a_usual_line(void **state)
{
	char *options = NULL;
	struct profile *p;

	put_file("k1", key_plain, 0600);
	assert_true(asprintf(&options,
			"_netdev|user|noatime|reconnect|ServerAliveInterval=15|"
			"ServerAliveCountMax=3|identityfile=%s|allow_other|default_permissions|"
			"uid=1000|gid=1000|umask=022|idmap=user|port=2222|follow_symlinks|"
			"max_conns=64|dcache_timeout=20|StrictHostKeyChecking=no|"
			"UserKnownHostsFile=/tmp/known|x-systemd.automount|ro|noexec|cache=yes|"
			"kernel_cache|big_writes|workaround=rename",
			in_home("k1")) > 0);
	p = good("", "u@h:/data", options);
	assert_int_equal(p->n_keys, 1);
	assert_string_equal(p->keys[0], in_home("k1"));
	assert_true(p->keys_given && p->allow_other && p->default_permissions && p->read_only &&
		    p->noexec && p->noatime);
	assert_int_equal(p->port, 2222);
	assert_int_equal(p->connections, 16);
	assert_int_equal(p->attr_timeout, 20);
	/* the instance alone keeps two names of a file in step */
	assert_int_equal(p->symlinks, SYMLINKS_FOLLOW);
	assert_int_equal(p->lag, 0);
	assert_int_equal(p->watch, WATCH_NO);
	assert_int_equal(p->host_key, HOST_KEY_ACCEPT_NEW);
	assert_string_equal(p->known_hosts, "/tmp/known");
	assert_int_equal(p->n_ssh_options, 0);
	profile_free(p);
	free(options);
}

/* What sshfs hands on to ssh, but for Cipher and the like, which no ssh has any more. */
static void options_of_ssh(void **state)
{
	static const char names[] =
	    "AddressFamily BatchMode BindAddress BindInterface CertificateFile CheckHostIP Ciphers "
	    "ChallengeResponseAuthentication Compression CompressionLevel ConnectionAttempts "
	    "ConnectTimeout ControlMaster ControlPath ControlPersist FingerprintHash "
	    "GlobalKnownHostsFile GSSAPIAuthentication GSSAPIDelegateCredentials "
	    "HostbasedAuthentication HostKeyAlgorithms HostKeyAlias IdentitiesOnly IdentityAgent "
	    "IPQoS KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms LocalCommand "
	    "LogLevel MACs NoHostAuthenticationForLocalhost NumberOfPasswordPrompts "
	    "PasswordAuthentication PermitLocalCommand PKCS11Provider PreferredAuthentications "
	    "ProxyCommand ProxyJump ProxyUseFdpass PubkeyAcceptedKeyTypes PubkeyAuthentication "
	    "RekeyLimit RevokedHostKeys TCPKeepAlive UpdateHostKeys VerifyHostKeyDNS "
	    "VisualHostKey";
	char *copy = strdup(names), *save, *name, *option, *out;

	for (name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		assert_true(asprintf(&option, "%s=1", name) > 0);
		if (profile_compat(option, &out) <= 0)
			fail_msg("%s", option);
		free(out);
		free(option);
	}
	free(copy);
	/* never passed over */
	assert_int_equal(profile_compat("RevokedHostKeys=/x", &out), 1);
	assert_string_equal(out, "ssh_option=RevokedHostKeys=/x");
	free(out);
}

static void host_keys(void **state)
{
	static const struct {
		const char *option;
		enum host_key_policy policy;
	} choices[] = {{"StrictHostKeyChecking=yes", HOST_KEY_STRICT},
	    {"stricthostkeychecking=ask", HOST_KEY_ASK},
	    {"StrictHostKeyChecking=accept-new", HOST_KEY_ACCEPT_NEW},
	    {"StrictHostKeyChecking=off", HOST_KEY_ACCEPT_NEW}};

	for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++) {
		struct profile *p = good("", "u@h", choices[i].option);

		assert_int_equal(p->host_key, choices[i].policy);
		profile_free(p);
	}
}

static void ssh_s_own(void **state)
{
	struct profile *p = good("[x]\nhost=h\nssh_option = RekeyLimit=1G\n", "x",
	    "Ciphers=aes128-ctr|compression=yes|ProxyJump=a@b:22|LocalForward=8080 localhost:80");

	assert_int_equal(p->n_ssh_options, 4);
	assert_string_equal(p->ssh_options[0], "RekeyLimit=1G");
	assert_string_equal(p->ssh_options[1], "Ciphers=aes128-ctr");
	assert_string_equal(p->ssh_options[2], "compression=yes");
	assert_string_equal(p->ssh_options[3], "ProxyJump=a@b:22");
	assert_int_equal(p->n_forwards, 1);
	profile_free(p);
	bad("[x]\nhost=h\nssh_option = -oRekeyLimit\n", "x", "", "my.ini:3|Name=value");
}

/* The names are for -o; what they are given is still checked, in the user's words. */
static void still_checked(void **state)
{
	bad("", "u@h", "Port=0", "-o Port=0:|1 to 65535");
	bad("", "u@h", "IdentityFile=/nowhere/key", "-o IdentityFile=|does not exist");
	bad("", "u@h", "max_conns=x", "-o max_conns=x");
	bad("", "u@h", "idmap=file", "idmap|none");
}

/* What can't be had says what to do instead. */
static void refused(void **state)
{
	bad("", "u@h", "directport=22", "-o directport=22: |port=");
	bad("", "u@h", "slave", "-o slave: |name the host");
	bad("", "u@h", "passive", "-o passive: |name the host");
	bad("", "u@h", "vsock=3:22", "ProxyCommand");
	bad("", "u@h", "allow_root", "allow_other");
	bad("", "u@h", "remount", "vastfs umount");
	bad("", "u@h", "debug", "write -d");
	bad("", "u@h", "modules=subdir", "ID:/path");
	bad("", "u@h", "nonsense", "unknown option");
}

/* All that mount(8) and fstab(5) know, and the rest of sshfs's. */
static void passed_over(void **state)
{
	struct profile *p = good("", "u@h",
	    "defaults|auto|noauto|user|users|nouser|owner|group|nofail|_netdev|silent|loud|"
	    "comment=x|x-systemd.requires=network-online.target|X-mount.mkdir|uhelper=udisks2|"
	    "relatime|norelatime|strictatime|nostrictatime|lazytime|nolazytime|iversion|mand|"
	    "nodiratime|context=system_u:object_r:x:s0|rw|exec|nosuid|nodev|async|"
	    "password_stdin|no_remote_lock|noforget|remember=10|clone_fd|max_threads=8|volname=x|"
	    "dirsync|"
	    "no_contain_symlinks");

	assert_false(p->read_only || p->noexec || p->noatime || p->sync);
	assert_int_equal(p->lag, 0);
	assert_int_equal(p->symlinks, SYMLINKS_RAW);
	assert_int_equal(p->n_ssh_options, 0);
	profile_free(p);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_usual_line),
	    TEST(options_of_ssh),
	    TEST(host_keys),
	    TEST(ssh_s_own),
	    TEST(still_checked),
	    TEST(refused),
	    TEST(passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
