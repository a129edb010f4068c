# How llama.cpp is built for the local model, by .cargo/config.toml: what runs for every number stays at the compiler's
# highest setting, what only lays out graphs, reads files or never runs here is compiled quickly. Must never change what is computed.

if(CMAKE_VERSION VERSION_LESS 3.19 OR MSVC)
    return()
endif()

# Chat templates, an HTTP client, argument parsing: nothing of it is called. The binding's default feature asks for it, which a
# crate above cannot take back.
set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)

function(tenure_quick)
    # 160 architectures, of which one run uses one: they only describe a graph, once a batch.
    target_compile_options(llama PRIVATE -O1)
    set_target_properties(llama PROPERTIES UNITY_BUILD_BATCH_SIZE 40)
    # What each token passes through. Paths are whole: a name alone would mean a file of this folder, and nothing be said.
    set(often llama-batch llama-context llama-grammar llama-kv-cache llama-sampler llama-vocab unicode)
    list(TRANSFORM often PREPEND ${PROJECT_SOURCE_DIR}/src/)
    list(TRANSFORM often APPEND .cpp)
    set_property(SOURCE ${often} TARGET_DIRECTORY llama APPEND PROPERTY COMPILE_OPTIONS -O2)
    # A compiler may die of headers that were precompiled at another level.
    set_property(SOURCE ${often} TARGET_DIRECTORY llama PROPERTY SKIP_PRECOMPILE_HEADERS ON)
    # Files, several devices, training.
    set(seldom gguf ggml-backend-meta ggml-opt)
    list(TRANSFORM seldom PREPEND ${PROJECT_SOURCE_DIR}/ggml/src/)
    list(TRANSFORM seldom APPEND .cpp)
    set_property(SOURCE ${seldom} TARGET_DIRECTORY ggml-base APPEND PROPERTY COMPILE_OPTIONS -O1)
    target_precompile_headers(llama PRIVATE
        "$<$<COMPILE_LANGUAGE:CXX>:<algorithm$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<functional$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<map$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<memory$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<regex$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<set$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<string$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<unordered_map$<ANGLE-R>>"
        "$<$<COMPILE_LANGUAGE:CXX>:<vector$<ANGLE-R>>")
endfunction()

cmake_language(DEFER CALL tenure_quick)
