/* What the watcher on the instance may say: whatever comes, a message that is taken is one that
 * fs/watched_events.c may act on. */
#include "transport/watcher_codec.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_sound(const struct watcher_message *message)
{
	switch (message->type) {
	case WATCHER_HELLO:
	case WATCHER_GONE:
	case WATCHER_LOST:
	case WATCHER_PING:
		return true;
	case WATCHER_ADDED:
		return message->err ? message->err < 0 && message->err > -4096
				    : S_ISDIR(message->attr.mode);
	case WATCHER_CHANGED:
		return strlen(message->name) <= 255 && !strchr(message->name, '/') &&
		       strcmp(message->name, ".") && strcmp(message->name, "..") &&
		       (message->name[0] || (message->bits & WATCHER_EXISTS));
	default:
		return false;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct watcher_message message;
	struct packet *packet;

	if (size > PACKET_MAX)
		return 0;
	packet = packet_new(4 + size);
	if (!packet)
		return 0;
	for (int i = 0; i < 4; i++)
		packet->data[i] = (uint8_t)(size >> (24 - 8 * i));
	memcpy(packet->data + 4, data, size);
	packet->len = 4 + size;
	if (!watcher_read(packet, &message) && !is_sound(&message))
		abort();
	packet_free(packet);
	return 0;
}
