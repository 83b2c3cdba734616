/*
 * The console server. A client (a VMM for its guest, root for the monitor, any task for its log) has a
 * channel: two byte rings, made by root. Root tells the server of each.
 *
 * Channel memory: CONSOLE_OUTPUT_OFFSET: the client's output ring; CONSOLE_INPUT_OFFSET: its input
 * ring. A full output ring makes its client wait; nothing is dropped.
 */
#ifndef PROTOCOL_CONSOLE_H
#define PROTOCOL_CONSOLE_H

#include "task.h"

#define CONSOLE_CHANNEL_BYTES 16384u
#define CONSOLE_OUTPUT_OFFSET 0u
#define CONSOLE_OUTPUT_BYTES  8192u
#define CONSOLE_INPUT_OFFSET  12288u
#define CONSOLE_INPUT_BYTES   2048u

/* Each client has a bit of the server's notification, TASK_BIT_CHANNEL(n). */
#define CONSOLE_CLIENTS_MAX 30u
/* The name of the monitor's console, which is root's. */
#define CONSOLE_SYSTEM "system"

/* Requests of root on the server's endpoint; reply label: enum console_error. */
enum console_request {
    /* w0 = client number n, w1 = kind (enum task_channel_kind: LOG, CONSOLE), w2 = bits that ring the
     * client; words 4-7: its name. Item 0: the channel's memory, at offset n * CONSOLE_CHANNEL_BYTES of
     * the server's window; item 1: the client's notification, at offset n. Logs and the console named
     * CONSOLE_SYSTEM make up the system console. A client that was detached may be attached again
     * under its number: its console goes on. */
    CONSOLE_ATTACH = 1,
    /* w0 = client: what it has written so far is still shown. Root calls this before it takes the
     * memory back. */
    CONSOLE_DETACH = 2,
    CONSOLE_FLUSH = 3, /* answered when all that was in the rings is on the line */
};

enum console_error {
    CONSOLE_OK = 0,
    CONSOLE_BAD_CLIENT = 1,
    CONSOLE_BAD_REQUEST = 2,
    CONSOLE_NO_MEMORY = 3,
};

/* struct task_start.role of the console server. */
struct console_start {
    uint32_t framed; /* 1: for a host tool (the format below); 0: for a terminal */
    uint32_t port;   /* of the 16550: 0x3f8 */
};

/*
 * Frames, on a serial line that ends in a host tool: CONSOLE_FRAME, client + 1, length (1-255), so many
 * bytes. Bytes outside frames are the kernel's or root's early words: the system log. A client's name
 * is told before its first bytes, and again by a server that was restarted: CONSOLE_FRAME,
 * CONSOLE_FRAME_NAME, length, client + 1, kind, name.
 *
 * Towards the server: CONSOLE_FRAME, client + 1, length, input, in all no more than 16 bytes. The server
 * answers CONSOLE_FRAME, CONSOLE_FRAME_TAKEN, 1, client + 1, and who types waits for that before the next
 * frame: so what is under way fits into the UART's FIFO, however long the server has to wait for the
 * processor. CONSOLE_FRAME always begins a frame, and so can't be typed (it is in no text of UTF-8): what
 * was lost of one frame costs nothing of the next, though what is left may reach another client.
 */
#define CONSOLE_FRAME       0xfeu
#define CONSOLE_FRAME_NAME  0xffu
#define CONSOLE_FRAME_TAKEN 0xfdu

#endif
