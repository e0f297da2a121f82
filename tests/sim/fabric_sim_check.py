#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""fabric_sim on trees so small that each option takes a moment: what it says in JSON must be what it was asked for.

usage: fabric_sim_check.py FABRIC_SIM PLOTS"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

PROGRAM, PLOTS = sys.argv[1:3]
SMALL = ("--hosts", "16", "--bytes", "400000")


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300)


class FabricSim(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.json = pathlib.Path(self.folder.name, "out.json")

    def document(self, *arguments):
        done = run(*arguments, "--json", str(self.json))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.said, self.table = done.stderr, done.stdout
        return json.loads(self.json.read_text())

    def rows(self, *arguments):
        rows = self.document(*arguments)["rows"]
        self.assertTrue(rows)
        for row in rows:
            self.assertTrue(row["complete"], row)
            self.assertIn(row["experiment"], self.table)
        return {row["experiment"]: row for row in rows}

    def row(self, *arguments):
        (row,) = self.rows(*arguments).values()
        return row

    # -- Trees

    def test_trees_have_the_asked_hosts_tiers_and_oversubscription(self):
        for hosts, tiers, share in ((16, 2, 1), (16, 3, 1), (64, 2, 4), (64, 3, 4), (128, 2, 8), (128, 3, 8)):
            with self.subTest(hosts=hosts, tiers=tiers, oversubscription=share):
                document = self.document("--hosts", str(hosts), "--tiers", str(tiers), "--bytes", "100000",
                                         "--oversubscription", str(share), "--only", "permutation, 64 paths, round")
                self.assertEqual((document["hosts"], document["tiers"], document["oversubscription"]),
                                 (hosts, tiers, share))
                self.assertEqual(len(document["rows"]), 1)

    def test_links_up_that_are_shared_take_as_much_longer(self):
        even = self.row("--hosts", "64", "--bytes", "1000000", "--tiers", "2", "--only", "64 paths, fixed")
        shared = self.row("--hosts", "64", "--bytes", "1000000", "--tiers", "2", "--oversubscription", "4",
                          "--only", "64 paths, fixed")
        self.assertGreater(shared["ideal_us"], 3 * even["ideal_us"] * 0.8)
        self.assertGreater(shared["completion_us"], 2 * even["completion_us"])
        for row in (even, shared):  # nobody beats the ideal, and it can be come near
            self.assertLess(row["worst_percent"], 101)
            self.assertGreater(row["worst_percent"], 30)

    def test_two_tiers_are_two_hops_shorter(self):
        three = self.row(*SMALL, "--only", "64 paths, round")
        two = self.row(*SMALL, "--tiers", "2", "--only", "64 paths, round")
        self.assertLess(two["ideal_us"], three["ideal_us"] - 3)

    def test_planes_carry_together(self):
        # Long flows: in its first millisecond a connection uses the interfaces that it begins with.
        arguments = ("--hosts", "4", "--bytes", "50000000", "--only", "64 paths, round")
        one, two = self.row(*arguments), self.row(*arguments, "--planes", "2")
        self.assertLess(two["completion_us"], 0.8 * one["completion_us"])
        self.assertGreater(two["goodput_gbit"], 100)
        document = self.document("--hosts", "54", "--planes", "2", "--bytes", "100000", "--dead-links", "1",
                                 "--only", "links dead")
        self.assertEqual(document["planes"], 2)
        self.assertRegex(document["rows"][0]["experiment"], "^1 of 216 links dead")

    # -- Faults

    def test_dead_links_swallow_packets_and_their_number_is_in_the_name(self):
        row = self.row("--hosts", "128", "--bytes", "400000", "--dead-links", "5%", "--only", "links dead")
        self.assertEqual(row["experiment"], "13 of 256 links dead")
        self.assertGreater(row["blackholed"], 0)
        self.assertGreater(row["again"], 0)
        self.assertLess(row["fair_percent"], 90)
        self.assertGreater(row["fair_percent"], 40)

    def test_dead_links_leave_every_switch_more_than_half(self):
        done = run("--hosts", "128", "--dead-links", "65", "--only", "links dead")
        self.assertEqual(done.returncode, 2)
        self.assertIn("at most 64 of the 256 links", done.stderr)
        # One link of four, everywhere: what is left of the paths is so little that short flows may not end in time.
        run("--hosts", "128", "--dead-links", "64", "--only", "links dead", "--json", str(self.json))
        (row,) = json.loads(self.json.read_text())["rows"]
        self.assertEqual(row["experiment"], "64 of 256 links dead")
        self.assertGreater(row["fair_percent"], 74)

    def test_links_are_a_number_or_a_share(self):
        for text in ("many", "5%%", "-1", "1.5", "101%"):
            with self.subTest(text):
                done = run(f"--slow-links={text}")
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("neither a number of links nor a share", done.stderr)
        self.assertEqual(run(*SMALL, "--slow-links", "1000").returncode, 2)

    def test_slow_links_are_slow(self):
        row = self.row(*SMALL, "--tiers", "2", "--slow-links", "50%", "--only", "slow links")
        self.assertRegex(row["experiment"], r"^slow links: \d+ core links at 10 %$")
        self.assertLess(row["fair_percent"], 80)
        self.assertLess(row["worst_percent"], 80)

    # -- Traffic

    def test_incasts_have_the_asked_senders(self):
        rows = self.rows(*SMALL, "--senders", "3,7", "--only", "incast")
        self.assertEqual(list(rows), ["incast 3:1", "incast 7:1"])
        # 7/3 times the bytes come to one host; the way there takes the same time.
        self.assertGreater(rows["incast 7:1"]["completion_us"], 1.8 * rows["incast 3:1"]["completion_us"])

    def test_a_tree_broadcast_takes_a_round_for_each_doubling(self):
        one = self.row("--hosts", "2", "--bytes", "400000", "--only", "tree broadcast")
        all_ = self.row(*SMALL, "--only", "tree broadcast")
        self.assertGreater(all_["completion_us"], 3.4 * one["completion_us"])
        self.assertLess(all_["completion_us"], 6 * one["completion_us"])

    def test_the_mix_has_slowdowns_by_size(self):
        row = self.row("--hosts", "16", "--mix-time", "1000", "--load", "30", "--only", "mix")
        self.assertEqual(row["experiment"], "mix: websearch at 30 %")
        flows = sum(size["flows"] for size in row["classes"])
        # 16 hosts, 12.5 GB/s, flows of 1.71 MB in the mean
        self.assertTrue(15 <= flows <= 70, flows)
        for size in row["classes"]:
            if size["flows"]:
                self.assertGreater(size["p50_slowdown"], 0.9)
                self.assertGreaterEqual(size["p99_slowdown"], size["p50_slowdown"])
                self.assertIn(size["name"], self.table)

    def test_background_flows_are_in_the_way_and_do_not_count(self):
        row = self.row("--hosts", "128", "--bytes", "400000", "--background", "30", "--only", "background")
        self.assertEqual(row["experiment"], "permutation, 30 % background")
        alone = self.row("--hosts", "128", "--bytes", "400000", "--only", "permutation, 64 paths, fixed")
        # They have four times as much to send: that alone takes longer than this.
        self.assertLess(row["completion_us"], 3 * row["ideal_us"])
        # What goes by one path meets others there.
        self.assertGreater(row["dropped_percent"], 10 * alone["dropped_percent"])

    def test_noise_costs_time(self):
        long = ("--hosts", "8", "--bytes", "40000000", "--only", "64 paths, round")
        quiet, noisy = self.row(*long), self.row(*long, "--noise", "500")
        self.assertGreater(noisy["completion_us"], quiet["completion_us"])

    # -- Ablations

    def test_ablations_are_one_command(self):
        rows = self.rows("--hosts", "32", "--bytes", "1000000", "--ablate")
        self.assertEqual(len(rows), 16)
        traffics = ("permutation", "incast 31:1")
        for traffic in traffics:
            self.assertGreater(rows[f"{traffic}: as it is"]["marked"], 0)
            self.assertEqual(rows[f"{traffic}: no marks"]["marked"], 0)
        for change in ("paths in turn", "one path", "fixed window", "trains of 8 packets", "credits of 512 KiB",
                       "credits of 128 KiB"):
            self.assertTrue(any(rows[f"{traffic}: {change}"]["mean_us"] != rows[f"{traffic}: as it is"]["mean_us"]
                                for traffic in traffics), change)
        self.assertLess(rows["permutation: one path"]["mean_percent"],
                        rows["permutation: as it is"]["mean_percent"] - 10)
        dropped = {change: rows[f"incast 31:1: {change}"]["dropped"]
                   for change in ("credits of 128 KiB", "as it is", "no marks")}
        self.assertLess(dropped["credits of 128 KiB"], dropped["as it is"])
        self.assertLess(dropped["as it is"], dropped["no marks"])

    # -- What is reported

    def test_figures_agree_with_each_other(self):
        row = self.row(*SMALL, "--seed", "3", "--only", "64 paths, round")
        self.assertLessEqual(row["worst_percent"], row["p99_percent"])
        self.assertLessEqual(row["p99_percent"], row["p50_percent"])
        self.assertLess(row["p50_percent"], 101)
        self.assertAlmostEqual(row["mean_percent"], 100 * row["ideal_us"] / row["mean_us"], places=6)
        self.assertAlmostEqual(row["worst_us"], row["completion_us"], places=6)
        self.assertAlmostEqual(row["goodput_gbit"], 400000 * 8 / 1000 / row["completion_us"], places=6)
        for name, packets in (("dropped", row["dropped"] + row["blackholed"]), ("marked", row["marked"]),
                              ("again", row["again"]), ("spurious", row["spurious"])):
            self.assertAlmostEqual(row[f"{name}_percent"], 100 * packets / row["sent"], places=6)

    def test_a_seed_replays_and_others_differ(self):
        arguments = (*SMALL, "--only", "64 paths, round", "--seeds", "3")
        first, again = self.document(*arguments), self.document(*arguments)
        self.assertEqual(first, again)
        self.assertEqual([row["seed"] for row in first["rows"]], [1, 2, 3])
        self.assertEqual(len({row["mean_us"] for row in first["rows"]}), 3)

    def test_a_long_run_tells_how_far_it_is(self):
        self.row(*SMALL, "--progress", "0", "--only", "64 paths, round")
        self.assertRegex(self.said, r"permutation, 64 paths, round robin: \d+ of 16 flows done, \d+ us simulated")
        self.row(*SMALL, "--only", "64 paths, round")
        self.assertNotIn("flows done", self.said)
        self.assertRegex(self.said, r"round robin: mean [\d.]+ %, slowest [\d.]+ %, all done after \d+ us")

    def test_a_name_that_nothing_has_is_an_error(self):
        done = run("--only", "no such thing")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no such thing", done.stderr)

    def test_a_picture(self):
        self.document(*SMALL, "--seeds", "2", "--only", "64 paths")
        picture = pathlib.Path(self.folder.name, "out.svg")
        subprocess.run([sys.executable, PLOTS, str(self.json), str(picture)], check=True)
        texts = [text.text for text in xml.etree.ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("permutation, 64 paths, round robin", texts)
        self.assertTrue(any(text.startswith("16 hosts, 3 tiers") for text in texts))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
