/*
 * Tells systemd how a Type=notify service is doing (sd_notify(3), without its library): a datagram
 * to the socket that $NOTIFY_SOCKET names. Without one nothing happens. Leaf; any thread.
 */
#ifndef VASTFS_CONF_SDNOTIFY_H
#define VASTFS_CONF_SDNOTIFY_H

/* "READY=1", "STOPPING=1", "STATUS=…"; several parted by newlines. */
void sdnotify(const char *state);

#endif
