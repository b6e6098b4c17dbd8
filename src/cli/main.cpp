// The program's entry: the real world for cli/run.cpp.

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/terminal.h"
#include "cli/cli.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  sgl::cli::World world{.in = std::cin,
                        .out = std::cout,
                        .err = std::cerr,
                        .in_is_terminal = sgl::is_terminal(stdin),
                        .out_is_terminal = sgl::is_terminal(stdout),
                        .columns = std::min(sgl::terminal_columns(stdout), 110),
                        .load = sgl::load_engine,
                        .serve = sgl::run_server};
  return sgl::cli::run(std::vector<std::string>(argv + std::min(argc, 1), argv + argc), world);
}
