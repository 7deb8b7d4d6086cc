#? host: true
sys 430 tmpfs 0 && escaped fsopen
sys 428 -100 / 1 && escaped open_tree
sys 433 -100 / 0 && escaped fspick
