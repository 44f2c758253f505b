"""placeholder until the page is written"""
def text(summary): return str(summary)
def write(*a): pass
