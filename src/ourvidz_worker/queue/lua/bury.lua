-- Keep a dead letter of a list.
add_letter(ARGV[3], ARGV[4])
return 1
