"""What each figure of the leaderboard means, two sentences each; docs/arena.md has the formulas and the sources."""

METHOD = """
**Votes.** Every battle is blind, has one vote, and is on record with its prompt, revisions, seeds and order. Battles
that failed, gave a name away or had two equal answers have no vote; votes at machine speed, and those that their
voters took back, are kept but not counted, and their number is shown.

**Wins against the base.** The share of decisive votes (not ties, not "both bad") that a contestant won against the
base. Its interval holds however often you look: with 95 % certainty the true share is in it after every single vote,
so nobody gains by stopping at a lucky moment.

**Points.** Strengths from all battles together by Davidson's model, which is Bradley and Terry's with ties; the base
has 1000, and 400 points more are odds of 10 to 1. Their 95 % intervals allow for votes of one voter being alike and
hold for one look.

**Place.** A range, because only who is *found* to be better or worse narrows it, at 5 % for all pairs together. Two
contestants whose ranges overlap have not been told apart.

**At equal length.** Longer answers may win because they are longer, so this fit allows for length and side. It says
what the points would be for answers of one length on no side.

**Side.** Sides are drawn by lot, so the left answer should win every other decisive vote. If it does not, people
favour a side, and the controlled points are the ones to read.

**Both bad.** Neither answer was any good: that says nothing about which is better, so it changes no score. It is
counted and shown for each contestant.

**Prompts.** *suggested* were offered by a persona's card, *imported* were also asked of other systems, *free* were
written by visitors. Personas know their own suggestions best, so the free ones are the harder test.

**Hidden rows.** Contestants with fewer than 30 wins, losses and ties wait, with the count to go. Their votes change
nobody's score until then.

**Who meets whom** is drawn by lot, more often where one more vote tells more, and the chance of each draw is on
record. Everybody can check all this: download the votes and run `understudy rank votes.csv`.
"""
