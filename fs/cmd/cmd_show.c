/* vastfs show: what a mount of the instance would use, the defaults put in. */
#include "conf/keyfile.h"
#include "conf/profile.h"
#include "fs/cmd/client.h"
#include "fs/cmd/commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(const char *key, const char *value)
{
	printf("%-13s= %s\n", key, value);
}

static void print_number(const char *key, unsigned value)
{
	printf("%-13s= %u\n", key, value);
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

static void print_profile(const struct profile *p)
{
	static const char *const policies[] = {"ask", "accept-new", "strict"};
	static const char *const resolves[] = {"auto", "direct", "proxy", "off"};
	char text[256];

	printf("[%s]\n", p->id);
	if (p->host_known) {
		print("host", p->host);
		print_number("port", p->port);
	} else {
		puts("; host and port: asked of the provider");
	}
	print("user", p->user);
	print_keys(p);
	if (p->path)
		print("path", p->path);
	else
		puts("; path: /workspace if it exists, else the login folder");
	for (size_t i = 0; i < p->n_forwards; i++)
		printf("; forward: %s\n", forward_spec_print(&p->forwards[i], text, sizeof(text)));
	print("known_hosts", p->known_hosts);
	print("host_key", policies[p->host_key]);
	print_number("connections", p->connections);
	print_number("timeout", p->timeout);
	print_number("attr_timeout", p->attr_timeout);
	if (p->spool_size_given)
		print_number("spool_size", p->spool_size);
	else
		puts("; spool_size: 4096, or a tenth of the free space");
	print("symlinks", p->symlinks == SYMLINKS_RAW ? "raw" : "inside");
	print("resolve", resolves[p->resolve]);
	print("idmap", p->idmap == IDMAP_NONE ? "none" : "user");
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
	if (profile->config)
		printf("; from %s\n", profile->config);
	print_profile(profile);
	print_mounts(profile->id);
	profile_free(profile);
	return 0;
}
