"""What servers are made to do, one work a module; `bench.table` lists them."""
