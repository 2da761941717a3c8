/* `vastfs status` for people: prints what fs/status.c made. */
#ifndef VASTFS_FS_CMD_STATUS_TEXT_H
#define VASTFS_FS_CMD_STATUS_TEXT_H

#include <jansson.h>

/* To standard output. */
void status_text_print(const json_t *status);

/* The lines of the disk cache alone. */
void status_text_disk(const json_t *disk);

#endif
