timeout: failed to run command ‘./sh_s’: No such file or directory
