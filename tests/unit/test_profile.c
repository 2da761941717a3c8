/* The profile: every key, the precedence, and one clear line for each thing that can be wrong. */
#include "tests/unit/profile_fixture.h"

/* --- what is accepted ------------------------------------------------------- */

static void test_defaults(void **state)
{
	struct profile *p = good("[1]\nhost = h\n", "1", "");

	assert_string_equal(p->id, "1");
	assert_string_equal(p->host, "h");
	assert_int_equal(p->port, 22);
	assert_string_equal(p->user, "root");
	assert_int_equal(p->n_keys, 0);
	assert_false(p->keys_given);
	assert_null(p->path);
	assert_int_equal(p->n_forwards, 0);
	assert_string_equal(p->known_hosts, in_home(".ssh/known_hosts"));
	assert_int_equal(p->host_key, HOST_KEY_ASK);
	assert_false(p->host_key_given);
	assert_int_equal(p->connections, 4);
	assert_int_equal(p->timeout, 60);
	assert_int_equal(p->attr_timeout, 30);
	assert_false(p->spool_size_given);
	assert_int_equal(p->symlinks, SYMLINKS_INSIDE);
	assert_int_equal(p->idmap, IDMAP_USER);
	assert_true(p->nosuid && p->nodev);
	assert_false(p->read_only || p->allow_other || p->default_permissions || p->noexec ||
		     p->noatime || p->sync || p->nonempty);
	assert_false(p->uid_given || p->gid_given || p->umask_given);
	assert_string_equal(p->fsname, "1");
	assert_null(p->config);
	profile_free(p);
}

static void check_all_keys(const struct profile *p)
{
	assert_string_equal(p->host, "::1");
	assert_int_equal(p->port, 20544);
	assert_string_equal(p->user, "ubuntu");
	assert_int_equal(p->n_keys, 2);
	assert_true(p->keys_given);
	assert_string_equal(p->keys[0], in_home("k1"));
	assert_string_equal(p->keys[1], in_home("k2"));
	assert_string_equal(p->path, "~/data");
	assert_int_equal(p->n_forwards, 2);
	assert_int_equal(p->forwards[0].listen_port, 8080);
	assert_string_equal(p->forwards[1].socket_path, "/run/x.sock");
	assert_string_equal(p->known_hosts, in_home("hosts"));
	assert_int_equal(p->host_key, HOST_KEY_STRICT);
	assert_true(p->host_key_given);
	assert_int_equal(p->connections, 16);
	assert_int_equal(p->timeout, 1);
	assert_int_equal(p->attr_timeout, 0);
	assert_int_equal(p->spool_size, 100);
	assert_true(p->spool_size_given);
	assert_int_equal(p->symlinks, SYMLINKS_RAW);
	assert_int_equal(p->idmap, IDMAP_NONE);
}

static void test_every_key_in_file_and_as_option(void **state)
{
	struct profile *p;

	put_file("k1", key_plain, 0600);
	put_file("k2", key_plain, 0400);
	p = good(
	    "[box]\nhost=[::1]\nport=20544\nuser=ubuntu\nkey=~/k1\nkey=~/k2\npath=~/data\n"
	    "forward=8080\nforward=9:/run/x.sock\nknown_hosts=~/hosts\nhost_key=strict\n"
	    "connections=16\ntimeout=1\nattr_timeout=0\nspool_size=100\nsymlinks=raw\nidmap=none\n",
	    "box", "");
	check_all_keys(p);
	profile_free(p);
	p = good("", "box",
	    "host=[::1]|port=20544|user=ubuntu|key=~/k1|key=~/k2|path=~/data|forward=8080|"
	    "forward=9:/run/x.sock|known_hosts=~/hosts|host_key=strict|connections=16|timeout=1|"
	    "attr_timeout=0|spool_size=100|symlinks=raw|idmap=none");
	check_all_keys(p);
	assert_string_equal(p->id, "ubuntu@[::1]:20544");
	profile_free(p);
}

static void test_mount_options(void **state)
{
	struct profile *p = good("", "r@h",
	    "ro|allow_other|default_permissions|nonempty|suid|dev|noexec|noatime|sync|uid=1000|"
	    "gid=0|umask=022|fsname=x y|subtype=vastfs|diratime|nodiratime");

	assert_true(p->read_only && p->allow_other && p->default_permissions && p->nonempty &&
		    p->noexec && p->noatime && p->sync);
	assert_false(p->nosuid || p->nodev);
	assert_true(p->uid_given && p->gid_given && p->umask_given);
	assert_int_equal(p->uid, 1000);
	assert_int_equal(p->gid, 0);
	assert_int_equal(p->umask, 022);
	assert_string_equal(p->fsname, "x y");
	profile_free(p);

	/* Each can be taken back by a later one. */
	p = good("", "r@h", "ro|rw|suid|nosuid|dev|nodev|noexec|exec|noatime|relatime|sync|async");
	assert_true(p->nosuid && p->nodev);
	assert_false(p->read_only || p->noexec || p->noatime || p->sync);
	profile_free(p);
	p = good("", "r@h", "noatime|atime|uid=4294967294");
	assert_false(p->noatime);
	assert_int_equal(p->uid, 4294967294u);
	profile_free(p);
	p = good("", "r@h", "noatime|strictatime");
	assert_false(p->noatime);
	profile_free(p);
}

static void test_options_of_mount_are_dropped(void **state)
{
	profile_free(good("", "r@h",
	    "user|users|nouser|owner|group|_netdev|nofail|auto|noauto|defaults|"
	    "x-systemd.automount|X-mount.mkdir=0700|comment=hello|comment|"));
}

static void test_precedence(void **state)
{
	static const char ini[] = "[defaults]\nhost=d\nport=1000\nuser=du\npath=/d\ntimeout=5\n"
				  "forward=1\nforward=2\n"
				  "[a]\nport=2000\nuser=su\npath=/s\nforward=3\n"
				  "[b]\nhost=b\n";
	struct profile *p = good(ini, "a", "user=ou|forward=4");

	assert_string_equal(p->host, "d");
	assert_int_equal(p->port, 2000);
	assert_string_equal(p->user, "ou");
	assert_string_equal(p->path, "/s");
	assert_int_equal(p->timeout, 5);
	/* A section's forwards replace those of [defaults]; the command line's add to them. */
	assert_int_equal(p->n_forwards, 2);
	assert_int_equal(p->forwards[0].listen_port, 3);
	assert_int_equal(p->forwards[1].listen_port, 4);
	profile_free(p);

	p = good(ini, "b", "");
	assert_string_equal(p->host, "b");
	assert_int_equal(p->port, 1000);
	assert_int_equal(p->n_forwards, 2);
	profile_free(p);

	/* The path after the ID wins over all; the last -o wins over earlier ones. */
	p = good(ini, "a:/mine", "path=/o|port=1|port=2");
	assert_string_equal(p->path, "/mine");
	assert_int_equal(p->port, 2);
	profile_free(p);

	/* [defaults] wins wherever in the file it stands. */
	p = good("[a]\nuser=su\n[defaults]\nuser=du\nhost=h\n", "a", "");
	assert_string_equal(p->user, "su");
	profile_free(p);
}

static void test_keys_replace_lower_ones(void **state)
{
	static const char ini[] = "[defaults]\nhost=h\nkey=~/k1\n[a]\nkey=~/k2\n[b]\n";
	struct profile *p;

	put_file("k1", key_plain, 0600);
	put_file("k2", key_plain, 0600);
	put_file("k3", key_plain, 0600);
	p = good(ini, "a", "");
	assert_int_equal(p->n_keys, 1);
	assert_string_equal(p->keys[0], in_home("k2"));
	profile_free(p);
	p = good(ini, "b", "");
	assert_string_equal(p->keys[0], in_home("k1"));
	profile_free(p);
	p = good(ini, "a", "key=~/k3|key=~/k1");
	assert_int_equal(p->n_keys, 2);
	assert_string_equal(p->keys[0], in_home("k3"));
	assert_string_equal(p->keys[1], in_home("k1"));
	profile_free(p);
	/* A key of another section may be missing. */
	profile_free(good("[x]\nkey=/nowhere\n[a]\nhost=h\n", "a", ""));
}

struct spec_case {
	const char *spec, *options, *id, *host, *user, *path;
	unsigned port;
};

static void test_specs_without_a_section(void **state)
{
	static const struct spec_case cases[] = {
	    {"root@1.2.3.4:/x", "port=20544", "root@1.2.3.4:20544", "1.2.3.4", "root", "/x", 20544},
	    {"bob@h", "", "bob@h:22", "h", "bob", NULL, 22},
	    {"h:/x:y", "", "root@h:22", "h", "root", "/x:y", 22},
	    {"h:", "", "root@h:22", "h", "root", NULL, 22},
	    {"h:~/x", "", "root@h:22", "h", "root", "~/x", 22},
	    {"h:rel", "", "root@h:22", "h", "root", "rel", 22},
	    {"[fe80::1%eth0]:/x", "", "root@[fe80::1%eth0]:22", "fe80::1%eth0", "root", "/x", 22},
	    {"u@[::1]", "port=3", "u@[::1]:3", "::1", "u", NULL, 3},
	    {"ssh://root@1.2.3.4:20544", "", "root@1.2.3.4:20544", "1.2.3.4", "root", NULL, 20544},
	    {"sftp://root@1.2.3.4:20544/d", "", "root@1.2.3.4:20544", "1.2.3.4", "root", "/d",
		20544},
	    {"ssh://h/p@q", "port=7", "root@h:7", "h", "root", "/p@q", 7},
	    {"ssh://u@[::1]:5/", "", "u@[::1]:5", "::1", "u", NULL, 5},
	    {"anything", "host=h", "root@h:22", "h", "root", NULL, 22},
	    {"12345:/y", "host=h|user=u", "u@h:22", "h", "u", "/y", 22},
	    {"u@a", "host=b", "u@b:22", "b", "u", NULL, 22},
	    {"h:/a@b", "", "root@h:22", "h", "root", "/a@b", 22},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct spec_case *c = &cases[i];
		struct profile *p = good("", c->spec, c->options);

		assert_string_equal(p->id, c->id);
		assert_string_equal(p->host, c->host);
		assert_string_equal(p->user, c->user);
		assert_int_equal(p->port, c->port);
		if (c->path)
			assert_string_equal(p->path, c->path);
		else
			assert_null(p->path);
		assert_string_equal(p->fsname, c->spec);
		profile_free(p);
	}
}

static void test_specs_with_a_section(void **state)
{
	static const char ini[] = "[12345]\nhost=1.2.3.4\nport=9\nuser=u\n[a b]\nhost=c\n";
	struct profile *p = good(ini, "12345:~/z", "");

	assert_string_equal(p->id, "12345");
	assert_string_equal(p->path, "~/z");
	assert_int_equal(p->port, 9);
	profile_free(p);
	p = good(ini, "bob@12345:/z", "");
	assert_string_equal(p->id, "12345");
	assert_string_equal(p->host, "1.2.3.4");
	assert_string_equal(p->user, "bob");
	profile_free(p);
	p = good(ini, "12345", "host=5.6.7.8");
	assert_string_equal(p->id, "12345");
	assert_string_equal(p->host, "5.6.7.8");
	profile_free(p);
	p = good(ini, "a b", "");
	assert_string_equal(p->id, "a b");
	profile_free(p);
}

static void test_forms_of_the_file(void **state)
{
	/* BOM, CRLF, indentation, comments, quotes, ':' for '=', an empty section, no newline at
	 * the end. */
	struct profile *p = good("\xef\xbb\xbf# one\r\n; two\r\n\r\n[ x ] ; three\r\n"
				 "  host = h ; four\r\n\tport = 9\r\n   path : \"/a # b\"\r\n"
				 "[empty]\r\n[y]\r\nhost=z",
	    "x", "");

	assert_string_equal(p->host, "h");
	assert_int_equal(p->port, 9);
	assert_string_equal(p->path, "/a # b");
	profile_free(p);
	p = good(
	    "[x]\nhost=h\n#" /* a long comment */
	    "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	    "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	    "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\n"
	    "port=5\n",
	    "x", "");
	assert_int_equal(p->port, 5);
	profile_free(p);
	/* A relative file name starts from the folder of the ini file. */
	p = good("[x]\nhost=h\nknown_hosts=hosts\n", "x", "");
	assert_string_equal(p->known_hosts, "/c/hosts");
	profile_free(p);
}

/* --- what is refused ---------------------------------------------------------- */

struct refusal {
	const char *ini, *spec, *options, *words;
};

static const struct refusal in_file[] = {
    {"[x]\nhots=1\n", "x", "", "/c/my.ini:2:|unknown key \"hots\"|did you mean \"host\"?"},
    {"[x]\nhost=h\n[y]\n\nIdentityFile=z\n", "x", "", "/c/my.ini:5:|did you mean \"key\"?"},
    {"[x]\nzzzzzz=1\n", "x", "", "my.ini:2:|\"zzzzzz\"|vastfs.ini(5)"},
    {"[x]\n=1\n", "x", "", "my.ini:2:"},
    {"[x]\nhost=h\nport=0\n", "x", "", "my.ini:3:|port|1 to 65535|\"0\""},
    {"[x]\nhost=h\nport=70000\n", "x", "", "my.ini:3:|\"70000\""},
    {"[x]\nhost=h\nport=\n", "x", "", "my.ini:3:|port has no value"},
    {"[x]\nhost=h\nport=22x\n", "x", "", "my.ini:3:|\"22x\""},
    {"[x]\nhost=h\nport=-1\n", "x", "", "my.ini:3:|\"-1\""},
    {"[x]\nhost=h\nport=99999999999999999999999\n", "x", "", "my.ini:3:|port"},
    {"[x]\nhost=h\nconnections=17\n", "x", "", "my.ini:3:|connections|1 to 16"},
    {"[x]\nhost=h\ntimeout=3601\n", "x", "", "my.ini:3:|timeout|1 to 3600"},
    {"[x]\nhost=h\nattr_timeout=x\n", "x", "", "my.ini:3:|attr_timeout|0 to 3600"},
    {"[x]\nhost=h\nhost_key=accept\n", "x", "", "my.ini:3:|ask|accept-new|strict"},
    {"[x]\nhost=h\nsymlinks=no\n", "x", "", "my.ini:3:|inside|raw"},
    {"[x]\nhost=h\nidmap=\n", "x", "", "my.ini:3:|idmap"},
    {"[x]\nhost=h\nforward=8080:\n", "x", "", "my.ini:3:|forward|8080:"},
    {"[x]\nhost=h\nforward=0\n", "x", "", "my.ini:3:|forward|\"0\""},
    {"[x]\nhost=h\n[x]\n", "x", "", "my.ini:3:|[x]|line 1"},
    {"[x]\nhost=h\nport=1\nport=2\n", "x", "", "my.ini:4:|port|line 3"},
    {"host=h\n", "x", "", "my.ini:1:|[defaults]"},
    {"[x]\nhost=h\nallow_other=1\n", "x", "", "my.ini:3:|-o allow_other"},
    {"[x]\nhost=h\nconfig=z\n", "x", "", "my.ini:3:|-o config"},
    {"[x]\nhost=h\n\nnonsense\nport=x\n", "x", "", "my.ini:4:|not understood"},
    {"[x\nhost=h\n", "x", "", "my.ini:1:|not understood"},
    {"[]\n", "x", "", "my.ini:1:|no name"},
    {"[x]\nhost=h\nport=22 # mine\n", "x", "", "my.ini:3:|';'"},
    {"[x]\nhost=h\npath=\"/a\n", "x", "", "my.ini:3:|path|closed"},
    {"[x]\nhost=1.2.3.4:20544\n", "x", "", "my.ini:2:|port=20544"},
    {"[x]\nhost=root@1.2.3.4\n", "x", "", "my.ini:2:|user=root"},
    {"[x]\nhost=ssh://h\n", "x", "", "my.ini:2:|host"},
    {"[x]\nhost=a b\n", "x", "", "my.ini:2:|host"},
    {"[x]\nhost=-oProxyCommand\n", "x", "", "my.ini:2:|host"},
    {"[x]\nhost=h\nuser=a b\n", "x", "", "my.ini:3:|user"},
    {"[x]\nhost=h\nkey=~bob/k\n", "x", "", "my.ini:3:|~bob"},
    {"[x]\nport=1\n", "x", "", "my.ini:1:|[x]|no host"},
    {"[one]\nhost=h\n", "two", "", "no section [two]|/c/my.ini|-o host="},
    {"[Box]\nhost=h\n", "box", "", "no section [box]|did you mean \"Box\", line 1"},
    {"[12345]\nhost=h\n", "1234", "", "did you mean \"12345\""},
    {"[12345]\nhost=h\n", "9:/x", "", "no section [9]"},
    {"[defaults]\nhost=h\n", "defaults", "", "[defaults]"},
};

static const struct refusal elsewhere[] = {
    {"", "x", "", "no section [x]|missing or empty|-o host="},
    {"", "r@h", "hots=1", "-o hots=1:|unknown option|did you mean \"host\"?"},
    {"", "r@h", "recnnect", "-o recnnect:|unknown option"},
    {"", "r@h", "port=0", "-o port=0:|1 to 65535"},
    {"", "r@h", "port", "-o port:|no value"},
    {"", "r@h", "host=", "-o host=:|no value"},
    {"", "r@h", "ro=1", "-o ro=1:|no value"},
    {"", "r@h", "umask=9", "-o umask=9:|octal"},
    {"", "r@h", "umask=1000", "-o umask=1000:|octal"},
    {"", "r@h", "uid=bob", "-o uid=bob:|number"},
    {"", "r@h", "uid=4294967295", "-o uid=4294967295:|4294967294"},
    {"", "r@h", "forward=a:b", "-o forward=a:b:|\"a\" is not a port"},
    {"", "", "", "empty"},
    {"", ":/x", "", "no instance"},
    {"", "@h", "", "user"},
    {"", "r@", "", "no instance"},
    {"", "[::1", "", "']'"},
    {"", "[::1]x", "", "not understood"},
    {"", "r@fe80::1", "", "brackets"},
    {"", "r@h:20544", "", "-o port=20544"},
    {"", "ssh://r@h:0", "", "port|1 to 65535"},
    {"", "ssh://r@h:99999/x", "", "port"},
    {"", "ssh://", "", "no instance"},
    {"", "ssh://h:1x", "", "not understood"},
    {"", "http://h/", "", "ssh://user@host:port/path"},
    {"", "ssh -p 22 root@h", "", "vastfs add ID"},
};

static void test_refusals(void **state)
{
	for (size_t i = 0; i < sizeof(in_file) / sizeof(*in_file); i++)
		bad(in_file[i].ini, in_file[i].spec, in_file[i].options, in_file[i].words);
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++)
		bad(elsewhere[i].ini, elsewhere[i].spec, elsewhere[i].options, elsewhere[i].words);
}

static void test_hostile_text(void **state)
{
	struct profile_request request;
	struct conf_error error;
	struct profile *p;
	char long_line[600] = "[x]\nhost=";

	/* Never two lines, never a control character in an error. */
	bad("[x]\nho\x1b[2Jst=1\n", "x", "", "my.ini:2:|ho?[2Jst");
	memset(long_line + 9, 'a', sizeof(long_line) - 10);
	bad(long_line, "x", "", "my.ini:2:|longer than");
	make_request(&request, "x", "");
	assert_true(profile_load_text(&request, "n", "[x]\nhost=a\0b\n", 13, &p, &error) < 0);
	assert_non_null(strstr(error.text, "n:2:"));
	assert_non_null(strstr(error.text, "text file"));
	assert_true(profile_load_text(&request, "n", "\xff\xfe[\0x\0]\0", 8, &p, &error) < 0);
	assert_non_null(strstr(error.text, "n:1:"));
	profile_request_fini(&request);
}

static void test_sloppy(void **state)
{
	struct profile_request request;
	struct conf_error error = {""};
	struct profile *p;

	make_request(&request, "r@h", "nonsense=1|other|port=5");
	request.sloppy = true;
	assert_int_equal(profile_load_text(&request, "n", "", 0, &p, &error), 0);
	assert_int_equal(p->port, 5);
	profile_free(p);
	profile_request_fini(&request);
	make_request(&request, "r@h", "port=x");
	request.sloppy = true;
	assert_true(profile_load_text(&request, "n", "", 0, &p, &error) < 0);
	profile_request_fini(&request);
	memset(&request, 0, sizeof(request));
	assert_true(profile_load_text(&request, "n", "", 0, &p, &error) < 0);
	request.spec = strdup("r@h");
	request.no_memory = true;
	assert_int_equal(profile_load_text(&request, "n", "", 0, &p, &error), -ENOMEM);
	profile_request_fini(&request);
}

static void test_forwards_of_the_command_line(void **state)
{
	struct profile_request request;
	struct conf_error error = {""};
	struct profile *p;

	make_request(&request, "r@h", "forward=1");
	profile_request_add_forward(&request, "[::1]:2:h:3");
	assert_int_equal(profile_load_text(&request, "n", "", 0, &p, &error), 0);
	assert_int_equal(p->n_forwards, 2);
	assert_string_equal(p->forwards[1].listen_host, "::1");
	profile_free(p);
	profile_request_add_forward(&request, "nope");
	assert_int_equal(profile_load_text(&request, "n", "", 0, &p, &error), -EINVAL);
	assert_non_null(strstr(error.text, "-L: forward \"nope\""));
	profile_request_fini(&request);
}

/* --- where the file is ----------------------------------------------------------- */

static int load_real(const char *options, struct profile **out, struct conf_error *error)
{
	struct profile_request request;
	int rc;

	make_request(&request, "box", options);
	rc = profile_load(&request, out, error);
	profile_request_fini(&request);
	return rc;
}

static void test_which_file(void **state)
{
	struct conf_error error = {""};
	struct profile *p;
	char option[300];

	/* None: an empty one. */
	assert_int_equal(load_real("host=h", &p, &error), 0);
	assert_null(p->config);
	profile_free(p);
	assert_int_equal(load_real("", &p, &error), -EINVAL);
	assert_non_null(strstr(error.text, in_home(".config/vastfs/config.ini")));

	put_file(".config/vastfs/config.ini", "[box]\nhost=one\n", 0644);
	assert_int_equal(load_real("", &p, &error), 0);
	assert_string_equal(p->host, "one");
	assert_string_equal(p->config, in_home(".config/vastfs/config.ini"));
	profile_free(p);

	setenv("XDG_CONFIG_HOME", in_home(".ssh"), 1);
	assert_int_equal(load_real("", &p, &error), -EINVAL);
	put_file("other.ini", "[box]\nhost=two\n", 0600);
	setenv("VASTFS_CONFIG", in_home("other.ini"), 1);
	assert_int_equal(load_real("", &p, &error), 0);
	assert_string_equal(p->host, "two");
	profile_free(p);

	snprintf(option, sizeof(option), "config=%s", in_home(".config/vastfs/config.ini"));
	assert_int_equal(load_real(option, &p, &error), 0);
	assert_string_equal(p->host, "one");
	profile_free(p);
	assert_int_equal(load_real("config=~/other.ini", &p, &error), 0);
	assert_string_equal(p->host, "two");
	profile_free(p);
}

static void test_file_that_cannot_be_read(void **state)
{
	struct conf_error error = {""};
	struct profile *p;
	char option[300];

	snprintf(option, sizeof(option), "config=%s", in_home("other.ini"));
	assert_int_equal(load_real(option, &p, &error), -ENOENT);
	assert_non_null(strstr(error.text, "other.ini: the configuration does not exist"));
	setenv("VASTFS_CONFIG", in_home("other.ini"), 1);
	assert_int_equal(load_real("host=h", &p, &error), -ENOENT);
	setenv("VASTFS_CONFIG", home, 1);
	assert_int_equal(load_real("host=h", &p, &error), -EISDIR);
	assert_non_null(strstr(error.text, "folder"));
	assert_int_equal(load_real("config=", &p, &error), -EINVAL);
	if (geteuid() == 0)
		return;
	put_file("other.ini", "", 0);
	setenv("VASTFS_CONFIG", in_home("other.ini"), 1);
	assert_int_equal(load_real("host=h", &p, &error), -EACCES);
	assert_non_null(strstr(error.text, "can't read"));
}

static void test_table(void **state)
{
	assert_string_equal(profile_key_suggest("prot"), "port");
	assert_string_equal(profile_key_suggest("HOST"), "host");
	assert_string_equal(profile_key_suggest("known-hosts"), "known_hosts");
	assert_null(profile_key_suggest("elephant"));
	assert_null(
	    profile_key_suggest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
	for (const struct profile_key *key = profile_keys(); key->name; key++) {
		assert_non_null(key->help);
		assert_ptr_equal(profile_key_find(key->name), key);
		assert_int_equal(key->type == KEY_CHOICE, key->choices != NULL);
		assert_true(key->type != KEY_NUMBER || key->max > key->min);
		/* A flag stands alone, and so can't be in the file. */
		assert_false(key->type == KEY_FLAG && key->in_file);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_defaults),
	    TEST(test_every_key_in_file_and_as_option),
	    TEST(test_mount_options),
	    TEST(test_options_of_mount_are_dropped),
	    TEST(test_precedence),
	    TEST(test_keys_replace_lower_ones),
	    TEST(test_specs_without_a_section),
	    TEST(test_specs_with_a_section),
	    TEST(test_forms_of_the_file),
	    TEST(test_refusals),
	    TEST(test_hostile_text),
	    TEST(test_sloppy),
	    TEST(test_forwards_of_the_command_line),
	    TEST(test_which_file),
	    TEST(test_file_that_cannot_be_read),
	    TEST(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
