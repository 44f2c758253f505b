/* A plugin for qemu-user that counts the instructions a program executes; at its end "pi_count: N" goes to stderr.
 *
 *     gcc -O2 -shared -fPIC -o pi_count.so pi_count.c && QEMU_PLUGIN=pi_count.so qemu-aarch64 PROGRAM
 *
 * An arm64 program can read its own count as it goes, like a clock, from an empty file in memory:
 *
 *     os.pread(os.memfd_create("instructions"), 8, 0x746e756f636970)     8 bytes, little endian
 *
 * That one call is seen here before the kernel sees it, and the count is written to where it is about to read.
 *
 * Debian packs no qemu-plugin.h, so the little that is used of it is declared here, as in include/qemu/qemu-plugin.h of
 * QEMU 7.2, plugin API version 1, documented in docs/devel/tcg-plugins.rst. Threads add to one sum without a lock, as QEMU's
 * own example does: what several do at the very same time may count once.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb; /* a translated block: instructions that are executed one after the other */
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op, void *ptr, uint64_t imm);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id,
                                          void (*cb)(qemu_plugin_id_t, unsigned int vcpu, int64_t number, uint64_t a1,
                                                     uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                                                     uint64_t a7, uint64_t a8));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void *userdata);

int qemu_plugin_version = 1;

enum { PREAD64 = 67 };                            /* linux, include/uapi/asm-generic/unistd.h: as on arm64 */
static const uint64_t HERE = 0x746e756f636970ull; /* "picount", and no file's length */

static uint64_t executed;

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(tb));
}

static void on_syscall(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t file, uint64_t buffer, uint64_t size,
                       uint64_t offset, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)buffer, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == PREAD64 && offset == HERE && size == sizeof executed &&
        pwrite((int)file, &executed, sizeof executed, (off_t)HERE) != sizeof executed)
        perror("pi_count: the count cannot be handed over");
}

static void on_end(qemu_plugin_id_t id, void *userdata)
{
    (void)id, (void)userdata;
    fprintf(stderr, "pi_count: %" PRIu64 "\n", executed);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
