// strftime as Python's datetime has it on Linux, in English whatever the locale.

#include <algorithm>
#include <ctime>
#include <string>
#include <string_view>

#include "text/jinja_library.h"

namespace sgl::jinja {

std::string format_time(const std::tm& t, std::string_view format) {
  constexpr std::string_view kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  constexpr std::string_view kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};
  std::string_view day = kDays[static_cast<size_t>(t.tm_wday) % 7], month = kMonths[static_cast<size_t>(t.tm_mon) % 12];
  int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12, year = t.tm_year + 1900;
  int monday_first = (t.tm_wday + 6) % 7;
  // ISO 8601: a week belongs to the year of its Thursday.
  int thursday = t.tm_yday - monday_first + 3, iso_year = year;
  auto days_in = [](int y) { return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 366 : 365; };
  if (thursday < 0) {
    --iso_year;
    thursday += days_in(iso_year);
  } else if (thursday >= days_in(iso_year)) {
    thursday -= days_in(iso_year);
    ++iso_year;
  }
  std::string out;
  auto number = [&](int n, int width, char pad) {
    std::string digits = std::to_string(n);
    if (pad != '-') out.append(static_cast<size_t>(std::max(0, width - static_cast<int>(digits.size()))), pad);
    out += digits;
  };
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out += format[i];
      continue;
    }
    size_t begin = i++;
    char pad = '\0';  // GNU's %-d, %_d, %0d
    if ((format[i] == '-' || format[i] == '_' || format[i] == '0') && i + 1 < format.size()) {
      pad = format[i] == '_' ? ' ' : format[i];
      ++i;
    }
    auto padded = [&](int n, int width, char usual = '0') { number(n, width, pad == '\0' ? usual : pad); };
    switch (format[i]) {
      case 'a':
        out += day.substr(0, 3);
        break;
      case 'A':
        out += day;
        break;
      case 'b':
      case 'h':
        out += month.substr(0, 3);
        break;
      case 'B':
        out += month;
        break;
      case 'c':
        out += format_time(t, "%a %b %e %H:%M:%S %Y");
        break;
      case 'C':
        padded(year / 100, 2);
        break;
      case 'd':
        padded(t.tm_mday, 2);
        break;
      case 'D':
        out += format_time(t, "%m/%d/%y");
        break;
      case 'e':
        padded(t.tm_mday, 2, ' ');
        break;
      case 'f':
        out += "000000";
        break;  // the clock counts seconds
      case 'F':
        out += format_time(t, "%Y-%m-%d");
        break;
      case 'g':
        padded(iso_year % 100, 2);
        break;
      case 'G':
        padded(iso_year, 4);
        break;
      case 'H':
        padded(t.tm_hour, 2);
        break;
      case 'I':
        padded(hour12, 2);
        break;
      case 'j':
        padded(t.tm_yday + 1, 3);
        break;
      case 'k':
        padded(t.tm_hour, 2, ' ');
        break;
      case 'l':
        padded(hour12, 2, ' ');
        break;
      case 'm':
        padded(t.tm_mon + 1, 2);
        break;
      case 'M':
        padded(t.tm_min, 2);
        break;
      case 'n':
        out += '\n';
        break;
      case 'p':
        out += t.tm_hour < 12 ? "AM" : "PM";
        break;
      case 'P':
        out += t.tm_hour < 12 ? "am" : "pm";
        break;
      case 'r':
        out += format_time(t, "%I:%M:%S %p");
        break;
      case 'R':
        out += format_time(t, "%H:%M");
        break;
      case 'S':
        padded(t.tm_sec, 2);
        break;
      case 't':
        out += '\t';
        break;
      case 'T':
      case 'X':
        out += format_time(t, "%H:%M:%S");
        break;
      case 'u':
        padded(monday_first + 1, 1);
        break;
      case 'U':
        padded((t.tm_yday + 7 - t.tm_wday) / 7, 2);
        break;
      case 'V':
        padded(thursday / 7 + 1, 2);
        break;
      case 'w':
        padded(t.tm_wday, 1);
        break;
      case 'W':
        padded((t.tm_yday + 7 - monday_first) / 7, 2);
        break;
      case 'x':
        out += format_time(t, "%m/%d/%y");
        break;
      case 'y':
        padded(year % 100, 2);
        break;
      case 'Y':
        padded(year, 1);
        break;
      case 'z':
      case 'Z':
        break;  // the time has no zone, as Python's datetime.now()
      case '%':
        out += '%';
        break;
      default:
        out += format.substr(begin, i - begin + 1);
    }
  }
  return out;
}

}  // namespace sgl::jinja
