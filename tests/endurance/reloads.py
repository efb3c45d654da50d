def check(args, report): pass
