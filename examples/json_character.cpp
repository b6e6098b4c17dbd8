// A character as data: once by a regular expression, once as a struct whose JSON Schema is derived from its members.

#include <string>
#include <vector>

#include "backend.h"

struct Wand {
  std::string wood;
  double length = 0;
};
SGL_JSON(Wand, wood, length)

enum class House { Gryffindor, Hufflepuff, Ravenclaw, Slytherin };
SGL_ENUM(House, Gryffindor, Hufflepuff, Ravenclaw, Slytherin)

struct Character {
  std::string name;
  House house = House::Gryffindor;
  int birth_year = 0;
  Wand wand;
  std::vector<std::string> friends;
};
SGL_JSON(Character, name, house, birth_year, wand, friends)

using namespace sgl;

namespace {

constexpr Key<Character> kCharacter{"character"};

void by_regex(State& s, const std::string& name) {
  s += name + " is a character in Harry Potter. As JSON:\n";
  const std::string pattern =
      R"re(\{\n    "name": "[\w ]{1,16}",\n    "house": "(Gryffindor|Slytherin|Ravenclaw|Hufflepuff)",\n)re"
      R"re(    "birth_year": [0-9]{4}\n\})re";
  s += gen("json", {.max_tokens = 128, .regex = pattern});
}

void by_type(State& s, const std::string& name) {
  s += name + " is a character in Harry Potter. As JSON:\n" + gen(kCharacter, {.max_tokens = 200});
}

void example() {
  if (const Capabilities can = default_backend()->capabilities(); !can.json_schema || !can.regex) {
    std::cout << "skipped: the backend " << default_backend()->name()
              << " cannot constrain a text by both. The schema would be\n"
              << json_schema_of<Character>() << "\n";
    return;
  }
  // Without the penalty a small model writes the digits of a number, or a list, without end.
  const RunOptions options{.gen = {.temperature = 0, .frequency_penalty = 0.5}};
  std::cout << program(by_regex, options)("Hermione Granger")["json"] << "\n";
  const Character c = program(by_type, options)("Hermione Granger")[kCharacter];
  std::cout << c.name << ", born in " << c.birth_year << ", wand of " << c.wand.wood << ", " << c.friends.size()
            << " friends\n";
}

}  // namespace

int main(int argc, char** argv) { return run_example(argc, argv, example); }
