/* A plugin for qemu-user that counts the instructions a program executes; at its end "pi_count: N" goes to stderr.
 *
 *     gcc -O2 -shared -fPIC -o pi_count.so pi_count.c && QEMU_PLUGIN=pi_count.so qemu-aarch64 PROGRAM
 *
 * Debian packs no qemu-plugin.h, so the little that is used of it is declared here, as in include/qemu/qemu-plugin.h of
 * QEMU 7.2, plugin API version 1, documented in docs/devel/tcg-plugins.rst. Threads add to one sum without a lock, as QEMU's
 * own example does: what several do at the very same time may count once.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb; /* a translated block: instructions that are executed one after the other */
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op, void *ptr, uint64_t imm);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void *userdata);

int qemu_plugin_version = 1;

static uint64_t executed;

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(tb));
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
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
