"""Photos to boxes in files: the heat's islands, a closer look at each, and a page to look the boxes through.

    photo ─ whole ─► heat ─► islands ─ each, cut out, twice ─► heat from near ─► box, label, score ─► journal ─► files
                                                                                                  ▲
                                                                         page: keep, fix, reject ─┘
"""
