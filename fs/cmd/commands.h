/*
 * The commands of vastfs(1), a file cmd_NAME.c each; main_vastfs.c has the table. A command gets
 * the words after its name and returns the exit status; what it refuses it says on standard error.
 */
#ifndef VASTFS_FS_CMD_COMMANDS_H
#define VASTFS_FS_CMD_COMMANDS_H

#include "conf/profile.h"

int cmd_add(int argc, char **argv);
int cmd_cache(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_edit(int argc, char **argv);
int cmd_forward(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_remove(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_spool(int argc, char **argv);
int cmd_ssh(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_sync(int argc, char **argv);
int cmd_umount(int argc, char **argv);

/* "vastfs NAME: the reason"; returns 1. */
int command_fail(const char *name, const struct conf_error *error);
/* What --help says of the command, on standard error; returns 1. */
int command_usage(const char *name);

/* A leading --config=FILE or --config FILE is taken off the words; NULL: the usual file. */
const char *command_config(int *argc, char ***argv);

/* The profile of "[--config FILE] ID", owned by the caller. 0, or a negative errno with the reason;
 * error->text is "" when the words are not these. */
int command_profile(int argc, char **argv, struct profile **out, struct conf_error *error);

#endif
