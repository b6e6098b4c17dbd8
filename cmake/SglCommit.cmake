# Run by every build (cmake -P): writes OUTPUT, a header with the commit that is being built, if it has changed.
execute_process(COMMAND git describe --always --dirty --exclude=* WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define SGL_COMMIT \"${commit}\"\n")
