// Plain tables for a terminal: columns as wide as their widest cell, no lines drawn.
#pragma once

#include <string>
#include <vector>

namespace shunt::command {

class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.size() == 1; }
  std::string text(unsigned indent = 0) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace shunt::command
