/* vastfs show: what a mount of the instance would use, the defaults put in. */
#include "conf/keyfile.h"
#include "conf/profile.h"
#include "fs/cmd/ask_ssh.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(const char *key, const char *value)
{
	printf("%-14s = %s\n", key, value);
}

static void print_number(const char *key, unsigned value)
{
	printf("%-14s = %u\n", key, value);
}

/* The word for an enum's value, from the table of keys. */
static void print_choice(const char *name, unsigned value)
{
	const struct profile_key *key = profile_keys();
	const char *word;

	while (strcmp(key->name, name) != 0)
		key++;
	for (word = key->choices; value; value--)
		word += strcspn(word, "|") + 1;
	printf("%-14s = %.*s\n", name, (int)strcspn(word, "|"), word);
}

static void print_keys(const struct profile *p)
{
	for (size_t i = 0; i < p->n_keys; i++)
		print("key", p->keys[i]);
	if (!p->n_keys)
		puts("; no key file that can be used");
	if (keyfile_agent_present())
		puts("; and the keys of ssh-agent");
}

static void print_caches(const struct profile *p)
{
	if (p->cache_dir)
		print("cache_dir", p->cache_dir);
	else
		puts("; cache_dir: ~/.cache/vastfs");
	if (p->cache_size == UINT64_MAX)
		puts("; cache_size: 10G, or a tenth of the free space");
	else
		printf("%-14s = %" PRIu64 "\n", "cache_size", p->cache_size);
	if (p->spool_size_given)
		print_number("spool_size", p->spool_size);
	else
		puts("; spool_size: 4096, or a tenth of the free space");
}

static void print_connection(const struct profile *p)
{
	char text[256];

	if (p->host_known) {
		print("host", p->host);
		print_number("port", p->port);
	} else {
		puts("; host and port: asked of the provider");
	}
	if (p->proxied)
		printf("; through %s, by ~/.ssh/config or an option\n",
		    p->proxy_jump ? p->proxy_jump : "a ProxyCommand");
	print("user", p->user);
	print_keys(p);
	if (p->path)
		print("path", p->path);
	else
		puts("; path: /workspace if it exists, else the login folder");
	for (size_t i = 0; i < p->n_forwards; i++)
		printf("; forward: %s\n", forward_spec_print(&p->forwards[i], text, sizeof(text)));
	print("known_hosts", p->known_hosts);
	print_choice("host_key", p->host_key);
	print_choice("transport", p->transport);
	for (size_t i = 0; i < p->n_ssh_options; i++)
		print("ssh_option", p->ssh_options[i]);
	print_number("connections", p->connections);
}

static void print_profile(const struct profile *p)
{
	printf("[%s]\n", p->id);
	print_connection(p);
	print_number("timeout", p->timeout);
	print_number("attr_timeout", p->attr_timeout);
	print_number("lag", p->lag);
	print_caches(p);
	print_choice("symlinks", p->symlinks);
	print_choice("idmap", p->idmap);
	print_choice("readahead_dirs", p->readahead_dirs);
	print_choice("watch", p->watch);
	print_choice("resolve", p->resolve);
	print("api_url", p->api_url);
}

static void print_mounts(const char *id)
{
	struct client_mount *mounts;
	struct conf_error ignored;
	int n = client_mounts(&mounts, &ignored), found = 0;

	for (int i = 0; i < n; i++) {
		const char *other = json_string_value(json_object_get(mounts[i].status, "id"));
		const char *at = json_string_value(json_object_get(mounts[i].status, "mountpoint"));

		if (!other || !at || strcmp(other, id) != 0)
			continue;
		printf("; mounted on %s\n", at);
		found++;
	}
	if (!found)
		printf("; not mounted; mount.vastfs %s FOLDER\n", id);
	if (n > 0)
		client_mounts_free(mounts, n);
}

int cmd_show(int argc, char **argv)
{
	struct conf_error error;
	struct profile *profile;

	if (command_profile(argc, argv, &profile, &error))
		return error.text[0] ? command_fail("show", &error) : command_usage("show");
	if (ask_ssh_complete(profile))
		fputs("vastfs show: ~/.ssh/config is left out: out of memory\n", stderr);
	if (profile->config)
		printf("; from %s\n", profile->config);
	print_profile(profile);
	print_mounts(profile->id);
	profile_free(profile);
	return 0;
}
