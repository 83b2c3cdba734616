/*
 * Rings of bytes between two tasks.
 * links: lib/ring.c
 */
#include "../../lib/ring.h"
#include "unit_test.h"

enum { SIZE = 64 };

static _Alignas(64) unsigned char memory[sizeof(struct ring_shared) + SIZE];
static struct ring writer, reader;
static struct ring_shared *shared;

static void start(void)
{
    memset(memory, 0, sizeof memory);
    shared = (struct ring_shared *)memory;
    ring_join_writer(&writer, memory, SIZE);
    ring_join_reader(&reader, memory, SIZE);
}

TEST(ring_keeps_order, "random writes and reads of all sizes move every byte once and in order")
{
    start();
    unsigned char chunk[SIZE + 9], sent = 0, received = 0;
    for (unsigned round = 0; round < 20000; round++) {
        size_t want = unit_random() % sizeof chunk;
        for (size_t i = 0; i < want; i++)
            chunk[i] = (unsigned char)(sent + i);
        size_t room = ring_room(&writer), done = ring_write(&writer, chunk, want);
        EXPECT(done, want < room ? want : room);
        sent = (unsigned char)(sent + done);
        EXPECT(ring_filled(&reader), SIZE - ring_room(&writer));
        done = ring_read(&reader, chunk, unit_random() % sizeof chunk);
        for (size_t i = 0; i < done; i++)
            EXPECT(chunk[i], (unsigned char)(received + i));
        received = (unsigned char)(received + done);
    }
}

TEST(ring_positions_wrap, "positions pass 2^32 without a loss")
{
    start();
    shared->written = shared->read = UINT32_MAX - 5;
    ring_join_writer(&writer, memory, SIZE);
    ring_join_reader(&reader, memory, SIZE);
    char text[21] = "";
    EXPECT(ring_write(&writer, "abcdefghijklmnopqrst", 20), 20);
    EXPECT(ring_room(&writer), SIZE - 20);
    EXPECT(ring_read(&reader, text, 20), 20);
    CHECK(strcmp(text, "abcdefghijklmnopqrst") == 0);
    EXPECT(ring_filled(&reader), 0);
}

TEST(ring_full_takes_no_more, "a full ring takes nothing, and what is in it stays")
{
    start();
    char text[SIZE];
    memset(text, 'x', SIZE);
    EXPECT(ring_write(&writer, text, SIZE), SIZE);
    EXPECT(ring_write(&writer, "y", 1), 0);
    EXPECT(ring_filled(&reader), SIZE);
    EXPECT(ring_read(&reader, text, 1), 1);
    EXPECT(text[0], 'x');
    EXPECT(ring_write(&writer, "y", 1), 1);
}

TEST(ring_hostile_writer,
     "a reader whose peer claims more than the ring holds reads nothing, ever again")
{
    start();
    char byte;
    shared->written = SIZE + 1;
    EXPECT(ring_read(&reader, &byte, 1), 0);
    CHECK(reader.broken);
    shared->written = 1;
    EXPECT(ring_read(&reader, &byte, 1), 0);
}

TEST(ring_hostile_reader,
     "a writer whose peer claims to have read the future writes nothing, ever again")
{
    start();
    shared->read = 1;
    EXPECT(ring_write(&writer, "a", 1), 0);
    CHECK(writer.broken);
    EXPECT(ring_room(&writer), 0);
    EXPECT(shared->written, 0);
}

TEST(ring_own_position_is_private,
     "what the peer writes over one's own published position changes nothing")
{
    start();
    char text[4] = "";
    EXPECT(ring_write(&writer, "abc", 3), 3);
    shared->written = 77;
    EXPECT(ring_write(&writer, "d", 1), 1);
    EXPECT(shared->written, 4);
    EXPECT(ring_read(&reader, text, 4), 4);
    CHECK(memcmp(text, "abcd", 4) == 0);
}

TEST(ring_reader_is_rung_once,
     "a waiting reader is rung for the first bytes, and not again until it waits again")
{
    start();
    CHECK(!ring_writer_must_ring(&writer));
    CHECK(ring_reader_waits(&reader));
    ring_write(&writer, "a", 1);
    CHECK(ring_writer_must_ring(&writer));
    ring_write(&writer, "b", 1);
    CHECK(!ring_writer_must_ring(&writer));
}

TEST(ring_does_not_wait_with_data,
     "a reader that would wait while there is data does not, and is not rung")
{
    start();
    ring_write(&writer, "a", 1);
    CHECK(!ring_reader_waits(&reader));
    CHECK(!ring_writer_must_ring(&writer));
}

TEST(ring_writer_is_rung, "a writer that waits for room is rung by the read that makes it")
{
    start();
    char text[SIZE] = "";
    ring_write(&writer, text, SIZE);
    CHECK(ring_writer_waits(&writer));
    CHECK(ring_read(&reader, text, 5) == 5 && ring_reader_must_ring(&reader));
    CHECK(!ring_writer_waits(&writer));
    CHECK(!ring_reader_must_ring(&reader));
}

TEST(ring_successor_goes_on, "who joins a ring in use goes on where the one before it stopped")
{
    start();
    char text[3] = "";
    ring_write(&writer, "abcd", 4);
    ring_read(&reader, text, 2);
    ring_join_writer(&writer, memory, SIZE);
    ring_join_reader(&reader, memory, SIZE);
    ring_write(&writer, "e", 1);
    EXPECT(ring_read(&reader, text, 3), 3);
    CHECK(memcmp(text, "cde", 3) == 0);
}
